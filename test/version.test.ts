/** package.json has the version; whatever else names it is read from there, or is checked here. */
import { readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

const test = suite('version')
const root = resolve(import.meta.dirname, '..')
const read = (path: string) => readFileSync(join(root, path), 'utf8')
const { version } = JSON.parse(read('package.json'))

test('the lock file has the version: npm run set-version', () => {
  const lock = JSON.parse(read('package-lock.json'))
  assert.equal([lock.version, lock.packages[''].version], [version, version])
})

test('every image and every label of the manifests has the version: npm run set-version', () => {
  const files = readdirSync(join(root, 'manifests'), { recursive: true, encoding: 'utf8' }).filter(name => name.endsWith('.yaml'))
  const named = files.flatMap(name => [
    ...read(`manifests/${name}`).matchAll(/(?:image: localhost\/tunlink:|kubernetes\.io\/version: )(\S+)$/gm),
  ])
  assert.is(named.length, 8)
  for (const [line, found] of named) assert.is(found, version, line)
})

test('the changelog begins with the version, or with what is not released yet', () => {
  const titles = [...read('CHANGELOG.md').matchAll(/^## (\S+)/gm)].map(([, title]) => title)
  assert.ok(titles[0] === 'Unreleased' || titles[0] === version, titles[0])
  assert.ok(titles.includes(version))
})

test.run()
