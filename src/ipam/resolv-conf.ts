import { readFileSync } from 'node:fs'
import { CniError, CODE } from '../cni/error.ts'
import { refuse } from '../cni/must-be.ts'
import type { Dns } from '../cni/result.ts'

/**
 * The file at `path` as CNI's `dns`: see resolv.conf(5). Throws CniError 7 when it cannot be read.
 */
export function readResolvConf(path: unknown): Dns {
  if (typeof path !== 'string') throw refuse('resolvConf', 'a path', path, { path: 'ipam.', code: CODE.invalidConfig })
  try {
    return parseResolvConf(readFileSync(path, 'utf8'))
  } catch (error) {
    throw new CniError(CODE.invalidConfig, `"ipam.resolvConf" is ${JSON.stringify(path)}: ${(error as Error).message}`)
  }
}

export function parseResolvConf(text: string): Dns {
  const dns: Dns = {}
  for (const line of text.split('\n')) {
    const [keyword, ...values] = line
      .replace(/[#;].*/, '')
      .trim()
      .split(/\s+/)
    if (values.length === 0) continue
    if (keyword === 'nameserver') dns.nameservers = [...(dns.nameservers ?? []), values[0]!]
    else if (keyword === 'domain') dns.domain = values[0]!
    else if (keyword === 'search') dns.search = values
    else if (keyword === 'options') dns.options = [...(dns.options ?? []), ...values]
  }
  return dns
}
