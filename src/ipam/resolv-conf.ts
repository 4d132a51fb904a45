import { CniError, CODE } from '../cni/error.ts'
import { refuse } from '../cni/must-be.ts'
import type { Dns } from '../cni/result.ts'
import { readSmallFile } from '../read-file.ts'

/**
 * The file at `path` as CNI's `dns`: see resolv.conf(5). Throws CniError 7 when it cannot be read.
 */
export function readResolvConf(path: unknown): Dns {
  if (typeof path !== 'string') throw refuse('resolvConf', 'a path', path, { path: 'ipam.', code: CODE.invalidConfig })
  try {
    return parseResolvConf(readSmallFile(path, 'follow'))
  } catch (error) {
    throw new CniError(CODE.invalidConfig, `"ipam.resolvConf" is ${JSON.stringify(path)}: ${(error as Error).message}`)
  }
}

export function parseResolvConf(text: string): Dns {
  const dns: Dns = {}
  const nameservers: string[] = []
  const options: string[] = []
  for (const line of text.split('\n')) {
    const [keyword, ...values] = line
      .replace(/[#;].*/, '')
      .trim()
      .split(/\s+/)
    if (values.length === 0) continue
    if (keyword === 'nameserver') nameservers.push(values[0]!)
    else if (keyword === 'domain') dns.domain = values[0]!
    else if (keyword === 'search') dns.search = values
    else if (keyword === 'options') options.push(...values)
  }
  if (nameservers.length > 0) dns.nameservers = nameservers
  if (options.length > 0) dns.options = options
  return dns
}
