/** JSON as plugins in Go read it: `null` is the same as no key. */
import { CniError, CODE } from './error.ts'
import type { Values } from './must-be.ts'

/** GC's list, under its name and an older one: Go's libraries send `null` for an empty list. */
export const VALID_ATTACHMENTS = ['cni.dev/valid-attachments', 'cni.dev/attachments']

/**
 * The object that `text` is, without keys that are null. Throws CniError 6; `what` names the text.
 */
export function parseObject(text: string, what: string): Values {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw new CniError(CODE.decoding, `${what}: ${(error as Error).message}`)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new CniError(CODE.decoding, `${what}: not an object`)
  return (text.includes('null') ? withoutNulls(value) : value) as Values
}

function withoutNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutNulls)
  if (typeof value !== 'object' || value === null) return value
  const kept = Object.entries(value).filter(([key, item]) => item !== null || VALID_ATTACHMENTS.includes(key))
  return Object.fromEntries(kept.map(([key, item]) => [key, withoutNulls(item)]))
}
