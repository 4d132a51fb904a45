/** Addresses as text and bytes: inet_pton(3) and inet_ntop(3) in the language, for those who must not load the foreign functions. */

export type Family = 4 | 6

/** Strict: four decimal numbers without leading zeros, or RFC 4291 text without zone. undefined when `text` is no address. */
export function parseAddress(text: string): { family: Family; bytes: Buffer } | undefined {
  const bytes = text.includes(':') ? parseIPv6(text) : parseIPv4(text)
  return bytes && { family: text.includes(':') ? 6 : 4, bytes: Buffer.from(bytes) }
}

/** `address` is canonical text, `bytes` its bytes. undefined when `text` is not ADDRESS/PREFIX. */
export function parseCidr(text: string): { family: Family; address: string; bytes: Buffer; prefix: number } | undefined {
  const slash = text.indexOf('/')
  const address = parseAddress(text.slice(0, slash))
  const length = text.slice(slash + 1)
  if (slash < 0 || address === undefined || !/^(0|[1-9]\d{0,2})$/.test(length) || Number(length) > (address.family === 4 ? 32 : 128))
    return undefined
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

/** Groups of up to four hex digits as bytes; the very last may be a dotted IPv4 address. */
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
