/** The tables as a JSON Schema (draft 2020-12), for editors. */
import { IPAM, RANGE, ROUTE } from './ipam.ts'
import type { Key, Table, TableName, Type } from './key.ts'
import { AGENT, DNS, NETWORK } from './network.ts'

type Json = Record<string, unknown>

export const TABLES: Record<TableName, Table> = { agent: AGENT, dns: DNS, ipam: IPAM, range: RANGE, route: ROUTE }

const CAPABILITIES = {
  type: 'object',
  additionalProperties: { type: 'boolean' },
  description: 'What the runtime is asked to put into runtimeConfig, such as { "ips": true, "bandwidth": true }.',
}

/** A whole file: a conflist, or one plugin with a name. */
export const jsonSchema = (): Json => ({
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  title: 'Network configuration of tunlink',
  description: 'A CNI conflist with the plugin tunlink in it, or a configuration of tunlink alone.',
  type: 'object',
  if: { required: ['plugins'] },
  // biome-ignore lint/suspicious/noThenProperty: a word of JSON Schema
  then: { $ref: '#/$defs/conflist' },
  else: { $ref: '#/$defs/plugin', required: ['name', 'type'] },
  $defs: {
    conflist: conflist(),
    otherPlugin: { type: 'object', properties: { type: { type: 'string' }, ipam: ipam() }, required: ['type'] },
    plugin: plugin(),
    ...Object.fromEntries(Object.entries(TABLES).map(([name, keys]) => [name, definition(name as TableName, keys)])),
  },
})

const conflist = (): Json => ({
  type: 'object',
  properties: {
    cniVersion: schemaOf(NETWORK.cniVersion),
    cniVersions: { type: 'array', items: schemaOf(NETWORK.cniVersion), description: 'Versions that the runtime may choose from.' },
    name: schemaOf(NETWORK.name),
    disableCheck: { type: 'boolean' },
    disableGC: { type: 'boolean' },
    loadOnlyInlinedPlugins: { type: 'boolean' },
    plugins: {
      type: 'array',
      items: {
        if: { properties: { type: { const: 'tunlink' } }, required: ['type'] },
        // biome-ignore lint/suspicious/noThenProperty: a word of JSON Schema
        then: { $ref: '#/$defs/plugin' },
        else: { $ref: '#/$defs/otherPlugin' },
      },
    },
  },
  required: ['name', 'plugins'],
})

function plugin(): Json {
  const keys = Object.entries(NETWORK as Table)
  const only = (farEnd: 'host' | 'attach') => keys.filter(([, key]) => key.farEnd === farEnd).map(([name]) => name)
  const without = (names: string[]) => ({ properties: Object.fromEntries(names.map(name => [name, false])) })
  return {
    ...objectOf(NETWORK, { capabilities: CAPABILITIES }, ['type']),
    dependentSchemas: { ...together('ingressRate', 'ingressBurst'), ...together('egressRate', 'egressBurst') },
    if: { properties: { farEnd: { const: 'attach' } }, required: ['farEnd'] },
    // biome-ignore lint/suspicious/noThenProperty: a word of JSON Schema
    then: {
      ...without(only('host')),
      anyOf: [
        { required: ['owner'] },
        { required: ['group'] },
        { properties: { allowAnyUser: { const: true } }, required: ['allowAnyUser'] },
      ],
    },
    else: without(only('attach')),
  }
}

/** Two keys of which neither goes without the other, unless it is 0. */
const together = (a: string, b: string): Json => {
  const needs = (key: string, other: string) => ({ [key]: { anyOf: [{ properties: { [key]: { const: 0 } } }, { required: [other] }] } })
  return { ...needs(a, b), ...needs(b, a) }
}

/** `ipam`: the built-in one's keys, or whatever another plugin has. */
const ipam = (): Json => ({
  type: 'object',
  properties: { type: { type: 'string', minLength: 1 } },
  required: ['type'],
  if: { properties: { type: { const: 'tunlink' } } },
  // biome-ignore lint/suspicious/noThenProperty: a word of JSON Schema
  then: { $ref: '#/$defs/ipam' },
})

const definition = (name: TableName, keys: Table): Json =>
  name === 'ipam' ? { ...objectOf(keys), anyOf: [{ required: ['subnet'] }, { required: ['ranges'] }] } : objectOf(keys)

function objectOf(keys: Table, more: Json = {}, required = requiredOf(keys)): Json {
  return {
    type: 'object',
    properties: { ...Object.fromEntries(Object.entries(keys).map(([name, key]) => [name, schemaOf(key)])), ...more },
    additionalProperties: false,
    ...(required.length > 0 ? { required } : {}),
  }
}

const requiredOf = (keys: Table): string[] => Object.keys(keys).filter(name => keys[name]!.required)

/** The part of the schema that is about one key. */
export function schemaOf(key: Key): Json {
  const literal = asJson(key.default)
  return { ...typeSchema(key.type), description: key.meaning, ...(literal === undefined ? {} : { default: literal }) }
}

/** undefined for a default in words. */
function asJson(text: string | undefined): unknown {
  try {
    return text === undefined ? undefined : JSON.parse(text)
  } catch {
    return undefined
  }
}

function typeSchema(type: Type): Json {
  switch (type.kind) {
    case 'boolean':
      return { type: 'boolean' }
    case 'integer': {
      const range = { minimum: type.least, maximum: type.most }
      return { type: 'integer', ...(type.zero ? { anyOf: [{ const: 0 }, range] } : range) }
    }
    case 'choice':
      return { enum: type.of }
    case 'string':
      return {
        type: 'string',
        ...(type.pattern === undefined ? {} : { pattern: type.pattern }),
        ...(type.most === undefined ? {} : { maxLength: type.most }),
      }
    case 'list':
      return {
        type: 'array',
        items: typeSchema(type.of),
        ...(type.least === undefined ? {} : { minItems: type.least }),
        ...(type.most === undefined ? {} : { maxItems: type.most }),
      }
    case 'either':
      return type.types.some(one => one.kind === 'table') ? ipam() : { anyOf: type.types.map(typeSchema) }
    case 'table':
      return { $ref: `#/$defs/${type.table}` }
    default:
      return { type: 'object' }
  }
}
