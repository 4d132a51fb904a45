/**
 * What the configuration's reference says of one key. From these tables come docs/configuration.md,
 * docs/schema/tunlink.schema.json and the tests that try each key on the executable. They are no
 * part of the executable: it has the names of the keys in src/cni/known-keys.ts, and reads the
 * values by hand.
 */

export type Type =
  | { kind: 'boolean' }
  /** `zero`: 0 is taken too, and means the default. */
  | { kind: 'integer'; least: number; most: number; unit?: string; zero?: true }
  | { kind: 'choice'; of: readonly string[] }
  /** `is` is for people; `pattern` is what editors can see of it. Lengths are in characters. */
  | { kind: 'string'; is: string; pattern?: string; least?: number; most?: number }
  | { kind: 'list'; is: string; of: Type; least?: number; most?: number }
  | { kind: 'either'; types: Type[] }
  /** Whatever the specification or another plugin says. */
  | { kind: 'object'; is: string }
  /** An object with a table of its own, in a section of docs/configuration.md. */
  | { kind: 'table'; table: TableName }

export type TableName = 'agent' | 'dns' | 'ipam' | 'range' | 'route'

export interface Key {
  type: Type
  /** Where the key is absent: JSON, or words. */
  default?: string
  /** Markdown, one paragraph. */
  meaning: string
  /** The far end that the key goes with; absent: both. */
  farEnd?: 'host' | 'attach'
  required?: true
  /** The runtime reads it, the executable does not. */
  unread?: true
  /** Keys that must be there with it. */
  with?: Record<string, unknown>
  /** Values that are taken, beside what the type says. */
  examples?: unknown[]
  /** Values that are refused, beside those that are not of the type. */
  refused?: unknown[]
}

export type Table<Name extends string = string> = Record<Name, Key>

export const boolean: Type = { kind: 'boolean' }
export const integer = (least: number, most: number, unit?: string): Type => ({
  kind: 'integer',
  least,
  most,
  ...(unit === undefined ? {} : { unit }),
})
/** An integer of which 0 means the default. */
export const zeroOr = (least: number, most: number, unit: string): Type => ({ kind: 'integer', least, most, unit, zero: true })
export const choice = (...of: string[]): Type => ({ kind: 'choice', of })
export const list = (is: string, of: Type, sizes: { least?: number; most?: number } = {}): Type => ({ kind: 'list', is, of, ...sizes })
export const table = (name: TableName): Type => ({ kind: 'table', table: name })

const DIGITS = '[0-9a-fA-F:.]+'
export const text: Type = { kind: 'string', is: 'a string' }
export const address: Type = { kind: 'string', is: 'an address', pattern: `^${DIGITS}$` }
export const network: Type = { kind: 'string', is: 'a network', pattern: `^${DIGITS}/[0-9]{1,3}$` }
export const addressOrNetwork: Type = { kind: 'string', is: 'an address, with or without prefix', pattern: `^${DIGITS}(/[0-9]{1,3})?$` }
/** Empty, as Go writes a string that is absent, or absolute. */
export const path = (most: number): Type => ({ kind: 'string', is: `an absolute path of at most ${most} bytes`, pattern: '^(/.*)?$', most })

/** Values that are not of the type, so that both the executable and the JSON Schema refuse them. */
export function wrongValues(type: Type): unknown[] {
  switch (type.kind) {
    case 'boolean':
      return ['true', 1]
    case 'integer':
      return [...(type.least > 1 || !type.zero ? [type.least - 1] : []), type.most + 1, '1', 1.5].filter(
        value => !(type.zero && value === 0) && (typeof value !== 'number' || value <= Number.MAX_SAFE_INTEGER),
      )
    case 'choice':
      return ['other', 1]
    case 'string':
      return [
        1,
        ['x'],
        ...(type.pattern === undefined || new RegExp(type.pattern).test('?') ? [] : ['?']),
        ...(type.most === undefined ? [] : [`/${'x'.repeat(type.most)}`]),
      ]
    case 'list':
      return ['x', [1]]
    case 'either':
      return [1]
    default:
      return ['x', 1, []]
  }
}

/** Values that are of the type, as far as that says what they are. */
export function rightValues(type: Type): unknown[] {
  if (type.kind === 'boolean') return [true, false]
  if (type.kind === 'integer') return [...(type.zero ? [0] : []), type.least, type.most]
  return type.kind === 'choice' ? [...type.of] : []
}
