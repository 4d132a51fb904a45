/** A release has no file that git does not track; and errors of the build that name the cause. */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

const test = suite('tracked files')
const root = resolve(import.meta.dirname, '..')
// scripts of the build, without types
const { librariesOf } = await import(join(root, 'licences/libraries.mjs'))
const { trackedFiles } = await import(join(root, 'release/tracked.mjs'))
const directory = mkdtempSync(join(tmpdir(), 'tunlink-tracked-'))
test.after(() => rmSync(directory, { recursive: true }))

test('trackedFiles() says that it needs a repository, and lists what is added, no other file', () => {
  mkdirSync(join(directory, 'docs/site/node_modules'), { recursive: true })
  for (const name of ['docs/a.md', 'docs/draft.md', 'docs/site/node_modules/b.js', 'c']) writeFileSync(join(directory, name), '')
  assert.throws(() => trackedFiles(directory, ['docs']), /A release needs git and its repository at .*not a git repository/)
  execFileSync('git', ['init', '--quiet'], { cwd: directory })
  execFileSync('git', ['add', 'docs/a.md', 'c'], { cwd: directory })
  assert.equal(trackedFiles(directory, ['docs']), ['docs/a.md'])
})
test('librariesOf() names a program without a dynamic section', () => {
  const program = join(directory, 'static')
  writeFileSync(program, Buffer.alloc(64)) // an ELF header without program headers
  assert.throws(() => librariesOf([program], '/', 'x86_64-linux-gnu'), /static has no dynamic section/)
})
test('a build on another machine than x64 and arm64 is refused in words', () => {
  const script = "Object.defineProperty(process, 'arch', { value: 'riscv64' }); await import('./release/target.mjs')"
  const env = { ...process.env, TUNLINK_ARCH: 'x64' }
  const { stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    cwd: root,
    encoding: 'utf8',
    env,
  })
  assert.match(stderr, /Error: Nothing can be built on riscv64: the machine must be one of x64, arm64/)
})

test.run()
