/** Other plugins as they are: an IPAM plugin need not read what it is given. */
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
