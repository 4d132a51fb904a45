/** Other plugins as they are: an IPAM plugin need not read what it is given. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { delegate } from '../../src/cni/delegate.ts'
import type { CniError } from '../../src/cni/error.ts'

const test = suite<{ directory: string; plugin(text: string): void }>('delegate')

test.before.each(context => {
  context.directory = mkdtempSync(join(tmpdir(), 'tunlink-test-'))
  context.plugin = text => writeFileSync(join(context.directory, 'other'), `#!/bin/sh\n${text}\n`, { mode: 0o755 })
})
test.after.each(({ directory }) => rmSync(directory, { recursive: true }))

/** More than a pipe or a socket takes without a reader. */
const LONG = ' '.repeat(3_000_000)

test('a plugin that does not read its input has run: its result counts', ({ directory, plugin }) => {
  plugin('echo "$CNI_COMMAND"')
  assert.is(delegate('ADD', 'other', LONG, [directory]), 'ADD\n')
})

test('a plugin may log as much as it likes', ({ directory, plugin }) => {
  plugin('head -c 3000000 /dev/zero >&2; echo "$CNI_COMMAND"')
  const program = `
    const { delegate } = await import(${JSON.stringify(new URL('../../src/cni/delegate.ts', import.meta.url).href)})
    process.stdout.write(delegate('ADD', 'other', '{}', [process.argv[1]]))`
  const options = { encoding: 'utf8', maxBuffer: 1 << 23 } as const
  const { stdout, stderr } = spawnSync(process.execPath, ['-e', program, directory], options)
  assert.equal([stdout, stderr.length], ['ADD\n', 3_000_000])
})

test('and so does its error', ({ directory, plugin }) => {
  plugin(`echo '{"code": 101, "msg": "its own words"}'; exit 1`)
  try {
    delegate('DEL', 'other', LONG, [directory])
    assert.unreachable()
  } catch (error) {
    const { code, message } = error as CniError
    assert.equal([code, message], [101, 'its own words'])
  }
})

test.run()
