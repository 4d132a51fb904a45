import { readFileSync } from 'node:fs'
import { CniError, CODE } from '../cni/error.ts'

export interface Dns {
  nameservers?: string[]
  domain?: string
  search?: string[]
  options?: string[]
}

/** The file at `path` as CNI's `dns`: see resolv.conf(5). Throws CniError 7 when it cannot be read. */
export function readResolvConf(path: unknown): Dns {
  if (typeof path !== 'string') throw new CniError(CODE.invalidConfig, `"ipam.resolvConf" must be a path, not ${JSON.stringify(path)}`)
  try {
    return parseResolvConf(readFileSync(path, 'utf8'))
  } catch (error) {
    throw new CniError(CODE.invalidConfig, `"ipam.resolvConf" is "${path}": ${(error as Error).message}`)
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
