/** What a runtime is told of an error. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { CniError, CODE, isErrorCode, toErrorJson } from '../../src/cni/error.ts'

const test = suite('CNI errors')

test('toErrorJson() has details only where there are some', () => {
  assert.equal(toErrorJson(new CniError(CODE.io, 'Cannot read'), '1.1.0'), { cniVersion: '1.1.0', code: 5, msg: 'Cannot read' })
  const withDetails = new CniError(CODE.invalidConfig, 'wrong', 'because')
  assert.equal(toErrorJson(withDetails, '0.4.0'), { cniVersion: '0.4.0', code: 7, msg: 'wrong', details: 'because' })
})

test('toErrorJson() cuts a message at 2,000 characters and details at 8,000, and says how many there were', () => {
  const { msg, details } = toErrorJson(new CniError(1, 'm'.repeat(2_000), 'd'.repeat(8_000)), '1.1.0')
  assert.equal([msg.length, details?.length], [2_000, 8_000])
  const cut = toErrorJson(new CniError(1, 'm'.repeat(2_001), 'd'.repeat(9_000)), '1.1.0')
  assert.is(cut.msg, `${'m'.repeat(2_000)}… (2001 characters)`)
  assert.is(cut.details, `${'d'.repeat(8_000)}… (9000 characters)`)
})

test('isErrorCode() takes what fits an unsigned integer of the reference library', () => {
  for (const code of [0, 7, 100, 999]) assert.ok(isErrorCode(code), String(code))
  for (const code of [-1, 1.5, Number.NaN, 2 ** 53, '7', null, undefined]) assert.not(isErrorCode(code), String(code))
})

test.run()
