/**
 * FNV-1a, 64 bits, as 16 hex digits. It makes names, and secures nothing: when two names have the
 * same hash, the clash is noticed (by the link's alias, or the owner's file) and refused.
 */
export function fnv1a(text: string): string {
  let hash = 0xcbf29ce484222325n
  for (const byte of Buffer.from(text)) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n)
  return hash.toString(16).padStart(16, '0')
}

/** Bytes: NAME_MAX of <linux/limits.h> is 255, and callers add a prefix or a suffix. */
const MOST = 200

/**
 * Bytes that a cut name keeps: with "~", the hash, and a character cut in two (3 bytes) it stays
 * below MOST.
 */
const KEPT = 180

/** `name` as a file name: a name that is too long is cut, and its hash appended. */
export function asFileName(name: string): string {
  const bytes = Buffer.from(name)
  return bytes.length <= MOST ? name : `${bytes.toString('utf8', 0, KEPT)}~${fnv1a(name)}`
}
