/**
 * FNV-1a, 64 bits, as 16 hex digits. Names are derived with it, nothing is secured by it: a clash of two names is found (the link's
 * alias, the owner's file) and refused.
 */
export function fnv1a(text: string): string {
  let hash = 0xcbf29ce484222325n
  for (const byte of Buffer.from(text)) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n)
  return hash.toString(16).padStart(16, '0')
}

/** `name` as a file name: what is too long for one is cut, and told apart by its hash. */
export const asFileName = (name: string): string => (Buffer.byteLength(name) <= 200 ? name : `${name.slice(0, 180)}~${fnv1a(name)}`)
