/**
 * IP addresses and networks: text, bytes, numbers and prefixes. Pure: it calls no function of the C
 * library.
 */

export type Family = 4 | 6

/** Bits of an address: 32 or 128, the prefix length of a single address. */
export const bits = (family: Family): 32 | 128 => (family === 4 ? 32 : 128)

/** The family of an address, or of a network in CIDR notation. */
export const familyOf = (text: string): Family => (text.includes(':') ? 6 : 4)

/** `10.0.0.1` as the network `10.0.0.1/32`. */
export const hostCidr = (address: string): string => `${address}/${bits(familyOf(address))}`

/** `10.244.1.0` of `10.244.1.0/24`. */
export const addressPart = (cidr: string): string => cidr.slice(0, cidr.indexOf('/'))

export const toNumber = (bytes: Uint8Array): bigint => BigInt(`0x${Buffer.from(bytes).toString('hex')}`)

export const toBytes = (value: bigint, family: Family): Buffer => Buffer.from(value.toString(16).padStart(bits(family) / 4, '0'), 'hex')

export const toAddress = (value: bigint, family: Family): string => formatAddress(toBytes(value, family))

/** How many addresses a network of this prefix length has. */
export const networkSize = (family: Family, prefix: number): bigint => 1n << BigInt(bits(family) - prefix)

/** `bytes` with all bits behind the first `prefix` cleared. */
export const withoutHostBits = (bytes: Uint8Array, prefix: number): Buffer =>
  Buffer.from(bytes.map((byte, index) => byte & (0xff << Math.max(0, 8 - Math.max(0, prefix - index * 8)))))

/** The network mask: 255.255.255.0 for 24 of IPv4. */
export const maskOf = (family: Family, prefix: number): Buffer => withoutHostBits(Buffer.alloc(bits(family) / 8, 0xff), prefix)

/** Canonical text of a network, without host bits; undefined when `text` is not a network. */
export function canonicalCidr(text: string): string | undefined {
  const cidr = parseCidr(text)
  return cidr && `${formatAddress(withoutHostBits(cidr.bytes, cidr.prefix))}/${cidr.prefix}`
}

/**
 * True when `network` (CIDR notation) holds `address`; false when one of the two cannot be parsed.
 */
export function holds(network: string, address: string): boolean {
  const [cidr, parsed] = [parseCidr(network), parseAddress(address)]
  if (cidr === undefined || parsed?.family !== cidr.family) return false
  return withoutHostBits(parsed.bytes, cidr.prefix).equals(withoutHostBits(cidr.bytes, cidr.prefix))
}

/**
 * False for addresses that no host has: unspecified, loopback, multicast, and IPv4's broadcast
 * (RFC 6890, RFC 4291).
 */
export function isHostAddress({ family, bytes }: { family: Family; bytes: Buffer }): boolean {
  if (family === 6) return bytes[0] !== 0xff && toNumber(bytes) > 1n
  const first = bytes[0]!
  return first !== 0 && first !== 127 && (first < 224 || first >= 240) && !bytes.equals(Buffer.alloc(4, 0xff))
}

/**
 * Strict: four decimal numbers without leading zeros, or RFC 4291 text without zone. undefined when
 * `text` is no address.
 */
export function parseAddress(text: string): { family: Family; bytes: Buffer } | undefined {
  const bytes = text.includes(':') ? parseIPv6(text) : parseIPv4(text)
  return bytes && { family: text.includes(':') ? 6 : 4, bytes: Buffer.from(bytes) }
}

/** `address` is canonical text, `bytes` its bytes. undefined when `text` is not ADDRESS/PREFIX. */
export function parseCidr(text: string): { family: Family; address: string; bytes: Buffer; prefix: number } | undefined {
  const slash = text.indexOf('/')
  const address = parseAddress(text.slice(0, slash))
  const length = text.slice(slash + 1)
  if (slash < 0 || address === undefined || !/^(0|[1-9]\d{0,2})$/.test(length) || Number(length) > bits(address.family)) return undefined
  return { family: address.family, address: formatAddress(address.bytes), bytes: address.bytes, prefix: Number(length) }
}

/** Canonical text of 4 or 16 bytes: RFC 5952 for IPv6. */
export function formatAddress(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join('.')
  if (bytes.length !== 16) throw new RangeError(`Cannot format an address of ${bytes.length} bytes`)
  const groups = Array.from({ length: 8 }, (_, index) => ((bytes[2 * index]! << 8) | bytes[2 * index + 1]!).toString(16))
  const { start, length } = longestZeros(groups)
  if (length < 2) return groups.join(':')
  return `${groups.slice(0, start).join(':')}::${groups.slice(start + length).join(':')}`
}

function longestZeros(groups: string[]): { start: number; length: number } {
  let best = { start: 0, length: 0 }
  for (let start = 0; start < 8; start++) {
    let length = 0
    while (groups[start + length] === '0') length++
    if (length > best.length) best = { start, length }
  }
  return best
}

function parseIPv4(text: string): number[] | undefined {
  const parts = text.split('.')
  if (parts.length !== 4 || !parts.every(part => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) <= 255)) return undefined
  return parts.map(Number)
}

function parseIPv6(text: string): number[] | undefined {
  const halves = text.split('::')
  if (halves.length > 2) return undefined
  const [head, tail] = halves.map((half, index) => parseGroups(half, index === halves.length - 1))
  if (head === undefined) return undefined
  if (halves.length === 1) return head.length === 16 ? head : undefined
  if (tail === undefined || head.length + tail.length > 14) return undefined
  return [...head, ...Array<number>(16 - head.length - tail.length).fill(0), ...tail]
}

/** Groups of up to four hex digits as bytes; the last group may be a dotted IPv4 address. */
function parseGroups(text: string, last: boolean): number[] | undefined {
  if (text === '') return []
  const bytes: number[] = []
  const groups = text.split(':')
  for (const [index, group] of groups.entries()) {
    const dotted = last && index === groups.length - 1 && group.includes('.') ? parseIPv4(group) : undefined
    if (dotted !== undefined) bytes.push(...dotted)
    else if (/^[0-9a-fA-F]{1,4}$/.test(group)) bytes.push(Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 0xff)
    else return undefined
  }
  return bytes
}
