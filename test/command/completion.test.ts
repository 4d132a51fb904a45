/** What bash completes, asked of bash itself. */
import { execFileSync } from 'node:child_process'
import { delimiter, dirname } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { EXECUTABLES } from '../support.ts'

const test = suite('completion')
const executable = EXECUTABLES[0]![1]

/** The words that bash offers for the last of `words`. */
function completed(...words: string[]): string[] {
  const script = `source <(tunlink completion bash); COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _tunlink; printf '%s\\n' "\${COMPREPLY[@]}"`
  const env = { PATH: `${dirname(executable)}${delimiter}${process.env.PATH}` }
  return execFileSync('bash', ['--norc', '-c', script, 'bash', 'tunlink', ...words], { encoding: 'utf8', env })
    .split('\n')
    .filter(Boolean)
}

test('commands', () => assert.equal(completed('s'), ['show', 'status']))
test('options of a command', () => assert.equal(completed('capture', '--s'), ['--seconds', '--snaplen']))
test('names of commands behind help, shells behind completion', () => {
  assert.equal(completed('help', 'do'), ['doctor', 'down'])
  assert.equal(completed('completion', ''), ['bash', 'zsh'])
})
test('each command of the help has its options in both scripts', () => {
  for (const shell of ['bash', 'zsh']) {
    const text = execFileSync(executable, ['completion', shell], { encoding: 'utf8' })
    assert.match(text, /^ +ls\) .*--output --interval --data-dir --help/m)
    assert.match(text, /tunlink ls -o name/)
  }
})

test.run()
