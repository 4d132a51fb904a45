/**
 * Validates one key at a time. Each function returns undefined for a key that is absent or null, as
 * Go's decoder reads it, and throws an error that names key and value of a wrong one.
 */
import { CniError, CODE } from './error.ts'
import { isDeep } from './json.ts'

export type Values = Record<string, unknown>

/** Where values stand in the configuration. */
export interface Place {
  /** The text before a key in errors, such as `ipam.`. */
  path: string
  /** The code of the error. */
  code: number
}

/** The configuration itself. */
export const CONFIGURATION: Place = { path: '', code: CODE.invalidConfig }

/** The object under `key` of `place`, as a place. */
export const within = ({ path, code }: Place, key: string): Place => ({ path: `${path}${key}.`, code })

export const RUNTIME_CONFIG: Place = within(CONFIGURATION, 'runtimeConfig')

/** `"ipam.subnet" must be a network, not 5` */
export const refuse = (key: string, mustBe: string, value: unknown, { path, code }: Place = CONFIGURATION) =>
  new CniError(code, `"${path}${key}" must be ${mustBe}, ${value === undefined ? 'but is missing' : `not ${show(value)}`}`)

/** The most characters of a value that an error repeats. */
const SHOWN = 200

/** A value as JSON for errors, cut when it is long. */
export function show(value: unknown): string {
  if (isDeep(value)) return 'objects and lists nested too deep to be meant'
  const text = typeof value === 'string' ? JSON.stringify(value.slice(0, SHOWN + 1)) : (JSON.stringify(value) ?? String(value))
  return text.length <= SHOWN ? text : `${text.slice(0, SHOWN)}…`
}

const isAbsent = (value: unknown): value is undefined | null => value === undefined || value === null

const isObject = (value: unknown): value is Values => typeof value === 'object' && value !== null && !Array.isArray(value)

export function optionalBoolean(values: Values, key: string, place?: Place): boolean | undefined {
  const value = values[key]
  if (isAbsent(value)) return undefined
  if (typeof value !== 'boolean') throw refuse(key, 'true or false', value, place)
  return value
}

export function optionalInteger(values: Values, key: string, least: number, most: number, place?: Place): number | undefined {
  const value = values[key]
  if (isAbsent(value)) return undefined
  if (!Number.isInteger(value) || (value as number) < least || (value as number) > most)
    throw refuse(key, `an integer from ${least} to ${most}`, value, place)
  return value as number
}

export function optionalChoice<T extends string>(values: Values, key: string, choices: readonly T[], place?: Place): T | undefined {
  const value = values[key]
  if (isAbsent(value)) return undefined
  if (!choices.includes(value as T)) throw refuse(key, choices.map(choice => `"${choice}"`).join(' or '), value, place)
  return value as T
}

/** An empty string counts as absent. */
export function optionalString(values: Values, key: string, place?: Place): string | undefined {
  const value = values[key]
  if (isAbsent(value) || value === '') return undefined
  if (typeof value !== 'string') throw refuse(key, 'a string', value, place)
  return value
}

/** A list of strings. */
export function optionalStrings(values: Values, key: string, place?: Place): string[] | undefined {
  const value = values[key]
  if (isAbsent(value)) return undefined
  if (!Array.isArray(value) || !value.every(item => typeof item === 'string')) throw refuse(key, 'a list of strings', value, place)
  return value
}

export function optionalObject(values: Values, key: string, place?: Place): Values | undefined {
  const value = values[key]
  if (isAbsent(value)) return undefined
  if (!isObject(value)) throw refuse(key, 'an object', value, place)
  return value
}

/** A list of objects. */
export function optionalObjects(values: Values, key: string, place?: Place): Values[] | undefined {
  const value = values[key]
  if (isAbsent(value)) return undefined
  if (!Array.isArray(value) || !value.every(isObject)) throw refuse(key, 'a list of objects', value, place)
  return value
}

/** Without the keys that have no value. */
export function defined<T extends object>(values: T): { [K in keyof T]?: NonNullable<T[K]> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as { [K in keyof T]?: NonNullable<T[K]> }
}
