/** C structs: natural alignment, both directions, and bytes that are cut short. */
import fc from 'fast-check'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { s32, struct, u8, u16, u32, u64 } from '../../src/linux/struct.ts'

const test = suite('struct')
const hex = (text: string) => Buffer.from(text.replace(/\s+/g, ''), 'hex')
/** struct { uint8_t a; uint32_t b; uint16_t c; uint64_t d; int32_t e; }, unpadded at its end. */
const sample = struct({ a: u8, b: u32, c: u16, d: u64, e: s32 })
const VALUES = { a: 0x11, b: 0x22334455, c: 0x6677, d: 0x0a0b0c0d0e0f, e: -2 }
const BYTES = hex('11 000000 55443322 7766 000000000000 0f0e0d0c0b0a0000 feffffff')

test('each field lies at a multiple of its size, in the order of the host', () => {
  assert.is(sample.size, 28)
  assert.equal(sample.encode(VALUES), BYTES)
  assert.equal(sample.decode(BYTES), VALUES)
})

test('a field that is not given is 0, and bytes behind the struct are left alone', () => {
  assert.equal(sample.encode({ c: 1 }), hex('00 000000 00000000 0100 000000000000 0000000000000000 00000000'))
  assert.equal(sample.decode(Buffer.concat([BYTES, hex('ffff')])), VALUES)
})

test('decode() refuses bytes that are cut short', () => {
  for (let length = 0; length < sample.size; length++) assert.throws(() => sample.decode(BYTES.subarray(0, length)), RangeError)
})

test('encode() refuses a number that does not fit', () => {
  for (const values of [{ a: 256 }, { a: -1 }, { b: 2 ** 32 }, { c: 65536 }, { d: -1 }, { e: 2 ** 31 }])
    assert.throws(() => sample.encode(values), RangeError, JSON.stringify(values))
})

test('decode() gives what encode() was given', () => {
  const values = fc.record({
    a: fc.integer({ min: 0, max: 255 }),
    b: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
    c: fc.integer({ min: 0, max: 65535 }),
    d: fc.maxSafeNat(),
    e: fc.integer(),
  })
  fc.assert(fc.property(values, given => assert.equal(sample.decode(sample.encode(given)), { ...given })))
})

test.run()
