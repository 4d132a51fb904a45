/** CNI_ARGS: `KEY=VALUE;KEY=VALUE`. Runtimes send the K8S_ keys, multus MAC and IP as well. */
import { CniError, CODE } from './error.ts'

const KNOWN = ['IP', 'GATEWAY', 'MAC', 'K8S_POD_NAMESPACE', 'K8S_POD_NAME', 'K8S_POD_INFRA_CONTAINER_ID', 'K8S_POD_UID']

/**
 * Throws CniError 4 for text that is not a pair, and for an unknown key unless IgnoreUnknown is
 * set.
 */
export function parseArgs(text: string): Record<string, string> {
  const source = `CNI_ARGS is ${JSON.stringify(text)}`
  const args: Record<string, string> = Object.create(null) // a key may be called __proto__
  for (const pair of text.split(';').filter(pair => pair !== '')) {
    const parts = pair.split('=')
    if (parts.length !== 2) throw new CniError(CODE.invalidEnvironment, `ARGS: invalid pair ${JSON.stringify(pair)}`, source)
    args[parts[0]!] = parts[1]!
  }
  const { IgnoreUnknown = '0', ...others } = args
  if (!/^(1|true|0|false)$/i.test(IgnoreUnknown)) {
    throw new CniError(CODE.invalidEnvironment, `ARGS: IgnoreUnknown must be a boolean, not ${JSON.stringify(IgnoreUnknown)}`, source)
  }
  const unknown = Object.keys(others).filter(key => !KNOWN.includes(key))
  if (unknown.length > 0 && !/^(1|true)$/i.test(IgnoreUnknown)) {
    throw new CniError(CODE.invalidEnvironment, `ARGS: unknown args ${JSON.stringify(unknown.map(key => `${key}=${others[key]}`))}`, source)
  }
  return others
}

/**
 * `namespace/name` of the Kubernetes pod in CNI_ARGS; undefined where it is not named. Throws as
 * parseArgs().
 */
export function podNameOf(text: string): string | undefined {
  const { K8S_POD_NAMESPACE: namespace, K8S_POD_NAME: name } = parseArgs(text)
  return namespace && name ? `${namespace}/${name}` : undefined
}
