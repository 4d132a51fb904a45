/**
 * Every millisecond of start-up is paid for each pod: what is in the executable's bundle is chosen.
 * Runs alone: it builds dist anew.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

const test = suite('bundle')

const inputsOf = (meta: string) =>
  (
    JSON.parse(readFileSync(new URL(`../dist/${meta}`, import.meta.url), 'utf8')) as {
      inputs: Record<string, { imports: { path: string; kind: string }[] }>
    }
  ).inputs

test('the bundle holds our sources and the koffi addon, no more', () => {
  const inputs = inputsOf('meta.json')
  const others = Object.keys(inputs).filter(path => !/^(src|cmd)\//.test(path))
  assert.is(others.length, 1)
  assert.match(others[0]!, /koffi\.node$/)
})

test('the plugin loads nothing of the command line: it is imported when there is one', () => {
  const inputs = inputsOf('meta.json')
  const loaded = new Set<string>()
  const load = (path: string) => {
    if (loaded.has(path)) return
    loaded.add(path)
    for (const { path: next, kind } of inputs[path]?.imports ?? []) if (kind === 'import-statement') load(next)
  }
  load('cmd/tunlink.ts')
  assert.ok(loaded.has('src/plugin/main.ts'))
  assert.equal(
    [...loaded].filter(path => path.startsWith('src/command/')),
    [],
  )
  assert.ok('src/command/doctor.ts' in inputs)
})

test('the bundle has nothing of tunlinkd', () => {
  assert.equal(
    Object.keys(inputsOf('meta.json')).filter(path => path.startsWith('src/node/')),
    [],
  )
})

test('in tunlinkd’s bundle, each package has one file of ours that imports it', () => {
  const importers = Object.entries(inputsOf('meta-tunlinkd.json'))
    .filter(([path]) => /^(src|cmd)\//.test(path))
    .flatMap(([path, { imports }]) =>
      imports.flatMap(({ path: imported }) => /^node_modules\/(@?[^/]+)/.exec(imported)?.[1] ?? []).map(name => `${path} ${name}`),
    )
  assert.equal(
    new Set(importers),
    new Set(['src/node/kube.ts @kubernetes', 'src/node/device-plugin/grpc.ts @grpc', 'src/linux/koffi-embedded.ts @koromix']),
  )
})

test('tunlinkd loads gRPC where it is used, and not its parser of .proto files', () => {
  const inputs = inputsOf('meta-tunlinkd.json')
  const { imports } = inputs['src/node/parts/device-plugin.ts']!
  const loaded = imports.filter(({ path }) => path.startsWith('src/node/device-plugin/'))
  assert.ok(loaded.length > 0 && loaded.every(({ kind }) => kind === 'dynamic-import'))
  assert.equal(
    Object.keys(inputs).filter(path => /protobufjs|proto-loader/.test(path)),
    [],
  )
})

test('a build leaves alone what else is in dist: the image, which takes longer to make', () => {
  const other = fileURLToPath(new URL('../dist/other.tar', import.meta.url))
  writeFileSync(other, '')
  try {
    execFileSync(process.execPath, [fileURLToPath(new URL('../build.mjs', import.meta.url))], { stdio: 'ignore' })
    assert.ok(existsSync(other))
  } finally {
    rmSync(other, { force: true })
  }
})

test.run()
