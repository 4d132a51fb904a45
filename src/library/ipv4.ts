/** Netmasks, as ifconfig(8) and pytun write prefixes. */
import { formatAddress, maskOf, parseAddress } from '../address.ts'

export const netmaskOf = (prefix: number): string => formatAddress(maskOf(4, prefix))

/** `255.255.255.0` as 24. Throws RangeError for text that is not a netmask. */
export function prefixOf(netmask: string): number {
  for (let prefix = 0; prefix <= 32; prefix++) if (netmaskOf(prefix) === netmask) return prefix
  throw new RangeError(`"netmask" must be one such as 255.255.255.0, not ${JSON.stringify(netmask)}`)
}

/** Throws RangeError for text that is not an IPv4 address. */
export function ipv4(key: string, value: string): string {
  if (parseAddress(value)?.family !== 4) throw new RangeError(`"${key}" must be an IPv4 address, not ${JSON.stringify(value)}`)
  return value
}
