import { spawn } from 'node:child_process'
import { once } from 'node:events'
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
test('many at once make one directory, its parents too', async () => {
  const script = `import { makeDirectory } from '${new URL('../src/make-directory.ts', import.meta.url)}'
    const until = Number(process.argv[1])
    while (Date.now() < until);
    for (let i = 0; i < 200; i++) makeDirectory(\`${dir}/\${i}/a/b/c\`, 0o700)`
  const start = String(Date.now() + 1000)
  const runs = Array.from({ length: 4 }, () =>
    spawn(process.execPath, ['--input-type=module', '-e', script, start], { stdio: ['ignore', 'ignore', 'inherit'] }),
  )
  const statuses = await Promise.all(runs.map(run => once(run, 'close').then(([status]) => status)))
  assert.equal(statuses, [0, 0, 0, 0])
})
test('ends with an error where the kernel makes no directory', () => {
  assert.is(code('/proc/tunlink/a/b'), 'ENOENT')
})

test.run()
