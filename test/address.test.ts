import { isIPv4, isIPv6 } from 'node:net'
import fc from 'fast-check'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { formatAddress, parseAddress, parseCidr } from '../src/address.ts'

const test = suite('inet')

test('parseAddress() refuses what inet_pton(3) refuses', () => {
  for (const text of [
    '',
    '1',
    '1.2.3',
    '1.2.3.256',
    '010.1.1.1',
    '1.2.3.4/32',
    ' 1.2.3.4',
    ':',
    ':::',
    '1::2::3',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    'fe80::1%eth0',
    '12345::',
    '::1.2.3',
    '1.2.3.4::',
  ]) {
    assert.is(parseAddress(text), undefined, text)
  }
})
test('formatAddress() is RFC 5952', () => {
  for (const [given, canonical] of [
    ['::', '::'],
    ['0:0::1', '::1'],
    ['2001:DB8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['1:0:2:3:4:5:6:7', '1:0:2:3:4:5:6:7'],
    ['::ffff:1.2.3.4', '::ffff:102:304'],
    ['fd66::', 'fd66::'],
  ]) {
    assert.is(formatAddress(parseAddress(given!)!.bytes), canonical)
  }
})
test('parseAddress() agrees with the runtime on any text, and reads back what formatAddress() wrote', () => {
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), fc.ipV6(), fc.stringMatching(/^[0-9a-f:.]{0,20}$/)), text => {
      assert.is(parseAddress(text) !== undefined, isIPv4(text) || isIPv6(text), text)
      const parsed = parseAddress(text)
      if (parsed !== undefined) assert.equal(parseAddress(formatAddress(parsed.bytes)), parsed)
    }),
  )
})
test('parseCidr() wants a prefix that the family has', () => {
  assert.is(parseCidr('10.0.0.1/32')?.prefix, 32)
  for (const text of ['10.0.0.1', '10.0.0.1/33', '10.0.0.1/', '10.0.0.1/01', 'fd00::/129', '/24'])
    assert.is(parseCidr(text), undefined, text)
})

test.run()
