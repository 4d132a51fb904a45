/** Validation of one key at a time: each answers undefined for an absent key, and names key and value of a wrong one (CniError 7). */
import { CniError, CODE } from './error.ts'

type Values = Record<string, unknown>

const refuse = (key: string, mustBe: string, value: unknown) =>
  new CniError(CODE.invalidConfig, `"${key}" must be ${mustBe}, not ${JSON.stringify(value)}`)

export function optionalBoolean(values: Values, key: string): boolean | undefined {
  const value = values[key]
  if (value === undefined || value === null) return undefined
  if (typeof value !== 'boolean') throw refuse(key, 'true or false', value)
  return value
}

export function optionalInteger(values: Values, key: string, least: number, most: number): number | undefined {
  const value = values[key]
  if (value === undefined || value === null) return undefined
  if (!Number.isInteger(value) || (value as number) < least || (value as number) > most)
    throw refuse(key, `an integer from ${least} to ${most}`, value)
  return value as number
}

export function optionalChoice<T extends string>(values: Values, key: string, choices: readonly T[]): T | undefined {
  const value = values[key]
  if (value === undefined || value === null) return undefined
  if (!choices.includes(value as T)) throw refuse(key, choices.map(choice => `"${choice}"`).join(' or '), value)
  return value as T
}

export function optionalString(values: Values, key: string): string | undefined {
  const value = values[key]
  if (value === undefined || value === null) return undefined
  if (typeof value !== 'string') throw refuse(key, 'a string', value)
  return value
}

/** A list of strings. */
export function optionalStrings(values: Values, key: string): string[] | undefined {
  const value = values[key]
  if (value === undefined || value === null) return undefined
  if (!Array.isArray(value) || !value.every(item => typeof item === 'string')) throw refuse(key, 'a list of strings', value)
  return value
}

export function optionalObject(values: Values, key: string): Values | undefined {
  const value = values[key]
  if (value === undefined || value === null) return undefined
  if (typeof value !== 'object' || Array.isArray(value)) throw refuse(key, 'an object', value)
  return value as Values
}
