/**
 * The tables of docs/schema/ against what reads the configuration: the built executable takes each
 * value that they allow. It refuses each other one, naming the key. Runs apart, as STATUS makes the
 * directories that it is told of.
 */
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { generated } from '../../docs/schema/generate.ts'
import { jsonSchema, TABLES } from '../../docs/schema/json-schema.ts'
import { type Key, rightValues, type Table, wrongValues } from '../../docs/schema/key.ts'
import { NETWORK } from '../../docs/schema/network.ts'
import { NODE } from '../../docs/schema/node.ts'
import { parseConfig } from '../../src/node/config.ts'

const ROOT = resolve(import.meta.dirname, '../..')
if (process.env.APART !== '1') {
  const env = { ...process.env, APART: '1' }
  process.exit(
    spawnSync(join(import.meta.dirname, 'apart'), [process.execPath, import.meta.filename], { stdio: 'inherit', env }).status ?? 1,
  )
}

type Json = Record<string, unknown>
const test = suite('configuration')
const valid = new Ajv2020({ strict: true, strictTypes: false, strictRequired: false }).compile(jsonSchema())

const NETWORK_OF_ONE = {
  cniVersion: '1.1.0',
  name: 'net',
  type: 'tunlink',
  dataDir: '/run/schema-test',
  agent: { spawn: false },
  ipam: { type: 'tunlink', subnet: '10.77.0.0/24' },
}

/** A configuration in which the key of a table has a value. */
const CONFIGURATIONS: Record<string, (given: Json) => Json> = {
  network: given => ({ ...NETWORK_OF_ONE, ...given }),
  agent: given => ({ ...NETWORK_OF_ONE, agent: { spawn: false, ...given } }),
  dns: given => ({ ...NETWORK_OF_ONE, dns: given }),
  // its own directory counts below another plugin only
  ipam: given => ({ ...NETWORK_OF_ONE, ...('dataDir' in given ? { type: 'ptp' } : {}), ipam: { ...NETWORK_OF_ONE.ipam, ...given } }),
  range: given => ({ ...NETWORK_OF_ONE, ipam: { type: 'tunlink', ranges: [[{ subnet: '10.77.0.0/24', ...given }]] } }),
  route: given => ({ ...NETWORK_OF_ONE, ipam: { ...NETWORK_OF_ONE.ipam, routes: [{ dst: '192.0.2.0/24', ...given }] } }),
}

/** Keys that ADD alone reads: its namespace does not exist, which it finds out after reading. */
const READ_BY_ADD = ['args', 'prevResult', 'cniVersion']

/** Runs STATUS, or ADD: the error that it printed; undefined for success. */
function refusal(key: string, configuration: Json): string | undefined {
  const command = READ_BY_ADD.includes(key) ? 'ADD' : 'STATUS'
  const { status, stdout } = spawnSync(join(ROOT, 'dist/tunlink'), {
    input: JSON.stringify(configuration),
    encoding: 'utf8',
    env: {
      PATH: process.env.PATH,
      CNI_COMMAND: command,
      CNI_CONTAINERID: 'c',
      CNI_IFNAME: 'eth0',
      CNI_NETNS: '/run/netns/absent',
      CNI_PATH: '/opt/cni/bin',
    },
  })
  if (status === 0) return undefined
  const { code, msg, details = '' } = JSON.parse(stdout)
  return command === 'ADD' && code === 8 ? undefined : `${code}: ${msg}; ${details}`
}

/** What goes with a key, so that a value is wrong or right by itself. */
const beside = (name: string, { farEnd, with: companions }: Key, value: unknown): Json => ({
  ...(farEnd === 'attach' || value === 'attach' ? { farEnd: 'attach', ...(name === 'owner' ? { group: 1 } : { owner: 1 }) } : {}),
  ...(value === 0 ? {} : companions), // 0 is no rate, and has no burst
})

for (const [tableName, keys] of Object.entries({ network: NETWORK as Table, ...TABLES })) {
  for (const [name, key] of Object.entries(keys)) {
    const path = `${tableName === 'network' ? '' : `${tableName}.`}${name}`
    const configuration = (value: unknown) => CONFIGURATIONS[tableName]!({ ...beside(name, key, value), [name]: value })

    test(`${path} is taken as documented`, () => {
      for (const value of [...rightValues(key.type), ...(key.examples ?? [])]) {
        assert.is(refusal(name, configuration(value)), undefined, `${path}: ${JSON.stringify(value)}`)
        assert.ok(valid(configuration(value)), `${path}: ${JSON.stringify(value)}: ${JSON.stringify(valid.errors)}`)
      }
    })

    test(`${path} is refused as documented`, () => {
      const wrong = wrongValues(key.type)
      for (const value of wrong) assert.not.ok(valid(configuration(value)), `the JSON Schema takes ${path}: ${JSON.stringify(value)}`)
      if (key.unread) return
      for (const value of [...wrong, ...(key.refused ?? [])])
        assert.match(
          refusal(name, configuration(value)) ?? 'taken',
          new RegExp(`\\b${name}\\b|${name === 'cniVersion' ? 'versions' : '^$'}`),
          `${path}: ${JSON.stringify(value).slice(0, 99)}`,
        )
    })
  }
}

for (const [name, key] of Object.entries(NETWORK as Table).filter(([, key]) => key.farEnd !== undefined)) {
  test(`${name} is refused with the other far end`, () => {
    const other = key.farEnd === 'host' ? { farEnd: 'attach', owner: 1 } : {}
    const value = [...rightValues(key.type)].at(-1)
    const configuration = CONFIGURATIONS.network!({ ...key.with, ...other, [name]: value })
    assert.match(refusal(name, configuration) ?? 'taken', new RegExp(`"${name.replace('Burst', 'Rate')}" .*goes with`))
    assert.not.ok(valid(configuration))
  })
}

for (const [name, key] of Object.entries(NODE as Table)) {
  test(`config.json: ${name}`, () => {
    for (const value of [...rightValues(key.type), ...(key.examples ?? [])]) parseConfig(JSON.stringify({ [name]: value }))
    if (name === 'peer') return // the conflist's own check refuses it: test/tunlinkd/config.test.ts
    for (const value of [...wrongValues(key.type), ...(key.refused ?? [])])
      assert.throws(() => parseConfig(JSON.stringify({ [name]: value })), new RegExp(`"${name}"`), JSON.stringify(value))
  })
}

for (const [what, configuration] of [
  ['a key in another case', { ...NETWORK_OF_ONE, ipmasq: true }],
  ['an unknown key', { ...NETWORK_OF_ONE, bridge: 'br0' }],
  ['attach that nobody may', { ...NETWORK_OF_ONE, farEnd: 'attach' }],
  ['a rate without its burst', { ...NETWORK_OF_ONE, egressRate: 1e6 }],
  ['no name', { ...NETWORK_OF_ONE, name: undefined }],
  ['an IPAM without a range', { ...NETWORK_OF_ONE, ipam: { type: 'tunlink' } }],
  ['a conflist with a bad plugin', { name: 'net', plugins: [{ type: 'tunlink', mtu: 12 }] }],
  ['a conflist with a plugin without type', { name: 'net', plugins: [{}] }],
  ['our IPAM below another plugin, with a bad key', { name: 'net', plugins: [{ type: 'ptp', ipam: { type: 'tunlink', subnet: 1 } }] }],
] as const) {
  test(`the JSON Schema refuses ${what}`, () => assert.not.ok(valid(JSON.parse(JSON.stringify(configuration)))))
}

/** Texts of the repository that show configurations. */
const pages = () =>
  [
    'README.md',
    ...['docs', 'manifests'].flatMap(directory =>
      readdirSync(join(ROOT, directory), { recursive: true }).map(name => join(directory, String(name))),
    ),
  ].filter(name => /\.(md|yaml)$/.test(name) && !name.startsWith('docs/site/'))

/** JSON objects in a text that begin and end with a brace on a line of its own. */
function configurationsIn(text: string): Json[] {
  const blocks = [...text.matchAll(/^( *)\{\n(.*\n)*?\1\}$/gm)].map(([block]) => block)
  return blocks.map(block => JSON.parse(block) as Json).filter(({ type, plugins }) => typeof type === 'string' || Array.isArray(plugins))
}

test('each configuration that the documentation and the manifests show is valid', () => {
  const shown = pages().flatMap(page => configurationsIn(readFileSync(join(ROOT, page), 'utf8')).map(json => ({ page, json })))
  for (const { page, json } of shown) {
    // tunlinkd's ConfigMap has plugins too, and no name
    if (json.type === undefined && json.name === undefined) parseConfig(JSON.stringify(json))
    else assert.ok(valid(json), `${page}: ${JSON.stringify(json)}: ${JSON.stringify(valid.errors)}`)
  }
  for (const page of ['README.md', 'docs/configuration.md', 'manifests/examples/network-attachment-definition.yaml'])
    assert.ok(
      shown.some(found => found.page === page),
      `${page} shows a configuration`,
    )
})

test('what is made of the tables is up to date: npm run docs', () => {
  for (const [path, text] of Object.entries(generated())) assert.is(readFileSync(join(ROOT, path), 'utf8'), text, path)
})

test('the tables are no part of the executable', () => {
  const { inputs } = JSON.parse(readFileSync(join(ROOT, 'dist/meta.json'), 'utf8'))
  assert.equal(
    Object.keys(inputs).filter(path => path.startsWith('docs/schema/')),
    [],
  )
  assert.ok('src/cni/known-keys.ts' in inputs)
})

test.run()
