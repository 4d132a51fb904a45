/** JSON as plugins in Go read it: `null` is the same as no key. */
import { CniError, CODE } from './error.ts'
import type { Values } from './must-be.ts'

/** The key of GC's list, and its older name: Go's libraries send `null` for an empty list. */
export const VALID_ATTACHMENTS = ['cni.dev/valid-attachments', 'cni.dev/attachments']

/**
 * How deep objects and lists may be nested. Configurations have about ten levels; recursive
 * functions, JSON.stringify() among them, fail beyond some thousand.
 */
const DEEPEST = 100

/**
 * The object that `text` contains, without keys that are null. Throws CniError 6; `what` names the
 * text in errors.
 */
export function parseObject(text: string, what: string): Values {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw new CniError(CODE.decoding, `${what}: ${(error as Error).message}`)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new CniError(CODE.decoding, `${what}: not an object`)
  if (isDeep(value)) throw new CniError(CODE.decoding, `${what}: objects and lists are nested more than ${DEEPEST} deep`)
  return (text.includes('null') ? withoutNulls(value) : value) as Values
}

/** True when objects and lists are nested too deep in `value`. */
export const isDeep = (value: unknown, levels = DEEPEST): boolean =>
  typeof value === 'object' && value !== null && (levels === 0 || Object.values(value).some(item => isDeep(item, levels - 1)))

function withoutNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutNulls)
  if (typeof value !== 'object' || value === null) return value
  const kept = Object.entries(value).filter(([key, item]) => item !== null || VALID_ATTACHMENTS.includes(key))
  return Object.fromEntries(kept.map(([key, item]) => [key, withoutNulls(item)]))
}
