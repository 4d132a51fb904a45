/** Every millisecond of start-up is paid for each pod: what is in the executable's bundle is chosen. */
import { readFileSync } from 'node:fs'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

const test = suite('bundle')

test('the bundle holds our sources and the koffi addon, no more', () => {
  const { inputs } = JSON.parse(readFileSync(new URL('../dist/meta.json', import.meta.url), 'utf8')) as { inputs: Record<string, unknown> }
  const others = Object.keys(inputs).filter(path => !/^(src|cmd)\//.test(path))
  assert.is(others.length, 1)
  assert.match(others[0]!, /koffi\.node$/)
})

test.run()
