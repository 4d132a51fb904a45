/**
 * FNV-1a, 64 bits, as 16 hex digits. Names are derived with it, nothing is secured by it: a clash
 * of two names is found (the link's alias, the owner's file) and refused.
 */
export function fnv1a(text: string): string {
  let hash = 0xcbf29ce484222325n
  for (const byte of Buffer.from(text)) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n)
  return hash.toString(16).padStart(16, '0')
}

/** Bytes: NAME_MAX of <linux/limits.h> is 255, and callers add a prefix or a suffix. */
const MOST = 200

/**
 * What a cut name keeps: with "~", the hash and a character cut in two (3 bytes) it is below MOST.
 */
const KEPT = 180

/** `name` as a file name: what is too long for one is cut, and told apart by its hash. */
export function asFileName(name: string): string {
  const bytes = Buffer.from(name)
  return bytes.length <= MOST ? name : `${bytes.toString('utf8', 0, KEPT)}~${fnv1a(name)}`
}
