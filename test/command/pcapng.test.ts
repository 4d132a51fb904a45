/** The format of captures, as bytes: see draft-ietf-opsawg-pcapng. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { beginning, packet, statistics } from '../../src/command/pcapng.ts'

const test = suite('pcapng')
const hex = (text: string) => text.replaceAll(/\s/g, '')
const isHex = (bytes: Buffer, expected: string) => assert.is(bytes.toString('hex'), hex(expected))

test('a file begins with its section and an interface of link type RAW', () =>
  isHex(
    beginning({ name: 'tl0', comment: 'c', snapLength: 65575, application: 'tun' }),
    `0a0d0d0a 28000000 4d3c2b1a 0100 0000 ffffffffffffffff  0400 0300 74756e00  00000000 28000000
     01000000 30000000 6500 0000 27000100  0100 0100 63000000  0200 0300 746c3000  0900 0100 09000000  00000000 30000000`,
  ))

test('a packet has its time in nanoseconds, both lengths, its bytes padded, and its direction', () => {
  const encoded = packet(Buffer.from('4500000003', 'hex'), 1500, 0x1122334455667788n, true)
  isHex(encoded, `06000000 34000000 00000000 44332211 88776655 05000000 dc050000  4500000003 000000  0200 0400 02000000  00000000 34000000`)
  assert.is(packet(Buffer.alloc(4), 4, 0n, false).readUInt32LE(36), 1) // inbound
})

test('a file ends with what was received and dropped', () =>
  isHex(
    statistics(1n, 2, 3),
    `05000000 34000000 00000000 00000000 01000000  0400 0800 0200000000000000  0500 0800 0300000000000000  00000000 34000000`,
  ))

test.run()
