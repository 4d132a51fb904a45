/** docs/configuration.md: the tables, and configuration.md.in around them. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { CODE } from '../../src/cni/error.ts'
import { LINK_KEYS } from '../../src/cni/known-keys.ts'
import { TABLES } from './json-schema.ts'
import type { Key, Table, Type } from './key.ts'
import { NETWORK } from './network.ts'
import { NODE } from './node.ts'

/** The page, made of the template: `<!-- table NAME -->` stands for a table. */
export function configurationPage(): string {
  const template = readFileSync(join(import.meta.dirname, 'configuration.md.in'), 'utf8')
  return template.replaceAll(/<!-- table (\w+) -->/g, (_, name: string) => tableOf(name))
}

function tableOf(name: string): string {
  if (name === 'codes') return codes()
  const keys = sections()[name]
  if (keys === undefined)
    throw new Error(`docs/schema/configuration.md.in names a table "${name}", which is none of ${Object.keys(sections()).join(', ')}`)
  return ['| key | value | default | meaning |', '|---|---|---|---|', ...Object.entries(keys).map(row)].join('\n')
}

function sections(): Record<string, Table> {
  const isLink = (key: string) => (LINK_KEYS as readonly string[]).includes(key)
  const pick = (link: boolean) => Object.fromEntries(Object.entries(NETWORK as Table).filter(([key]) => isLink(key) === link))
  return { network: pick(false), link: pick(true), node: NODE, ...TABLES }
}

function row([name, key]: [string, Key]): string {
  const farEnd = key.farEnd === undefined ? '' : `Far end \`${key.farEnd}\` only. `
  const cells = [`\`${name}\``, valueWords(key.type), key.required ? 'required' : code(key.default ?? ''), `${farEnd}${key.meaning}`]
  return `| ${cells.map(cell => cell.replaceAll('|', '\\|')).join(' | ')} |`
}

/** JSON is set as code, words are not. */
const code = (text: string) => (/^["\d[{]|^(true|false)$/.test(text) ? `\`${text}\`` : text)

function valueWords(type: Type): string {
  switch (type.kind) {
    case 'boolean':
      return '`true` or `false`'
    case 'integer': {
      const range = `${number(type.least)} to ${number(type.most)}${type.unit === undefined ? '' : ` ${type.unit}`}`
      return type.zero ? `0, or ${range}` : range
    }
    case 'choice':
      return type.of.map(word => `\`"${word}"\``).join(', ')
    case 'list':
      return `a list of ${type.is}`
    case 'either':
      return type.types.map(valueWords).join(', or ')
    case 'table':
      return 'an object'
    default:
      return type.is
  }
}

const number = (value: number) => (value < 10_000 ? String(value) : value.toLocaleString('en'))

const CODES: Record<keyof typeof CODE, string> = {
  incompatibleVersion: '`cniVersion` is none that the plugin speaks, or has no such verb',
  unsupportedField: '`mac` or `bridge`: a TUN device has no link layer',
  unknownContainer: 'CHECK: there is no record of this link',
  invalidEnvironment: 'a `CNI_` variable is missing or wrong',
  io: 'standard input, a record or a lease cannot be read or written',
  decoding: 'the configuration is not JSON, or `prevResult` is no result',
  invalidConfig: 'a key has a wrong value: the message names both',
  invalidNetns: '`CNI_NETNS` is no network namespace of a pod',
  tryAgainLater: 'the runtime should try again later',
  pluginNotAvailable: 'this node cannot make such a link now',
  limitedConnectivity: 'STATUS: links that are there have lost their network',
  addressUnavailable: 'the pool has no address left, or not the one that was requested',
  internal: 'anything else: the message says what failed',
}

const codes = () =>
  [
    '| code | meaning |',
    '|---|---|',
    ...Object.entries(CODE).map(([name, value]) => `| ${value} | ${CODES[name as keyof typeof CODE]} |`),
  ].join('\n')
