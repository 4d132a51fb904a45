/** Which versions and verbs are spoken. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { CniError } from '../../src/cni/error.ts'
import { compareVersions, SUPPORTED, verifyVersion } from '../../src/cni/version.ts'

const test = suite('CNI versions')

/** The code with which a verb of a version is refused; undefined when it is not. */
function refusal(version: string, command: string): number | undefined {
  try {
    verifyVersion(version, command)
    return undefined
  } catch (error) {
    return (error as CniError).code
  }
}

test('compareVersions() compares numbers, not text, and takes what is missing for 0', () => {
  assert.ok(compareVersions('0.10.0', '0.9.9') > 0)
  assert.ok(compareVersions('0.3.1', '1.0.0') < 0)
  for (const [a, b] of [
    ['1', '1.0.0'],
    ['1.1', '1.1.0'],
    ['0.4.0', '0.4.0'],
  ] as const)
    assert.is(compareVersions(a, b), 0, `${a} ${b}`)
})

test('compareVersions() refuses what is no version with code 6', () => {
  for (const version of ['', 'x', '1.x', '1.0.0.0', '-1.0', ' 1.0', '1.0.0-rc1', '1..0'])
    assert.throws(
      () => compareVersions(version, '1.0.0'),
      (error: CniError) => error.code === 6,
      version,
    )
})

test('verifyVersion() takes the versions that are supported, for the verbs that they have', () => {
  for (const version of SUPPORTED) {
    for (const command of ['ADD', 'DEL']) assert.is(refusal(version, command), undefined, `${command} ${version}`)
    assert.is(refusal(version, 'CHECK'), ['0.4.0', '1.0.0', '1.1.0'].includes(version) ? undefined : 1, `CHECK ${version}`)
    for (const command of ['GC', 'STATUS'])
      assert.is(refusal(version, command), version === '1.1.0' ? undefined : 1, `${command} ${version}`)
  }
})

test('verifyVersion() refuses any other with code 1', () => {
  for (const version of ['0.0.1', '0.3.2', '1.0', '1.2.0', '9.9.9']) assert.is(refusal(version, 'ADD'), 1, version)
  assert.throws(() => verifyVersion('1.2.0', 'STATUS'), 'plugin version does not allow STATUS')
})

test.run()
