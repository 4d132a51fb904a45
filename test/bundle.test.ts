/**
 * Every millisecond of start-up is paid for each pod: what is in the executable's bundle is chosen.
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

test('in tunlinkd’s bundle, one file of ours imports packages', () => {
  const importers = Object.entries(inputsOf('meta-tunlinkd.json'))
    .filter(([path, { imports }]) => /^(src|cmd)\//.test(path) && imports.some(({ path }) => path.startsWith('node_modules/@kubernetes')))
    .map(([path]) => path)
  assert.equal(importers, ['src/node/kube.ts'])
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
