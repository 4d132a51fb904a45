import { chmodSync, existsSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { makeDirectory } from '../src/make-directory.ts'

const test = suite('make-directory')
let dir = ''
test.before.each(() => {
  dir = mkdtempSync(join(tmpdir(), 'tunlink-mkdir-'))
})
test.after.each(() => rmSync(dir, { recursive: true, force: true }))

const code = (path: string) => {
  try {
    makeDirectory(path, 0o700)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code
  }
  return undefined
}

test('makes what is missing, with the mode, and leaves what is there', () => {
  chmodSync(dir, 0o755)
  for (let round = 0; round < 2; round++) assert.is(code(join(dir, 'a/b/c')), undefined)
  assert.equal(
    ['', 'a', 'a/b', 'a/b/c'].map(name => statSync(join(dir, name)).mode & 0o777),
    [0o755, 0o700, 0o700, 0o700],
  )
})
test('fails where something else is in the way, and leaves it', () => {
  writeFileSync(join(dir, 'file'), '')
  symlinkSync('nowhere', join(dir, 'dangling'))
  assert.equal([code(join(dir, 'file')), code(join(dir, 'file/a'))], ['EEXIST', 'ENOTDIR'])
  assert.ok(code(join(dir, 'dangling')))
  assert.not.ok(existsSync(join(dir, 'nowhere')))
})
test('ends with an error where the kernel makes no directory', () => {
  assert.is(code('/proc/tunlink/a/b'), 'ENOENT')
})

test.run()
