/** The wire format of netlink, byte by byte, and what comes of bytes that are cut short. */
import fc from 'fast-check'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { addressAddition, decodeAddress } from '../../src/linux/address-messages.ts'
import { linkChange } from '../../src/linux/link.ts'
import { acknowledge, attribute, attributes, message, messages, NetlinkError, type Request } from '../../src/linux/netlink.ts'
import { decodeRoute, ecmpAddition, routeAddition } from '../../src/linux/route.ts'
import { NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_REQUEST } from '../../src/linux/uapi.ts'

const test = suite('rtnetlink')
const hex = (text: string) => Buffer.from(text.replace(/\s+/g, ''), 'hex')

/** What a request looks like when sent. */
const sent = ({ type, flags, body }: Request) => message(type, NLM_F_REQUEST | NLM_F_ACK | flags, 1, body)

test('attribute() pads its payload to four bytes', () => {
  assert.equal(attribute(3, Buffer.from('lo\0')), hex('0700 0300 6c6f00 00'))
})
test('addressAddition() encodes `ip address add 10.244.1.7 peer 169.254.1.1/32 dev 2`', () => {
  assert.equal(
    sent(addressAddition(2, { local: '10.244.1.7', peer: '169.254.1.1', prefix: 32 })),
    hex('28000000 1400 0506 01000000 00000000   02 20 00 00 02000000   0800 0200 0af40107   0800 0100 a9fe0101'),
  )
})
test('addressAddition() encodes `ip address add fd66::1/64 dev 2 nodad`', () => {
  const address = 'fd660000000000000000000000000001'
  assert.equal(
    sent(addressAddition(2, { local: 'fd66::1', prefix: 64 })),
    hex(`40000000 1400 0506 01000000 00000000   0a 40 02 00 02000000   1400 0200 ${address}   1400 0100 ${address}`),
  )
})
test('linkChange() encodes `ip link set dev 2 mtu 1400 up`', () => {
  assert.equal(
    sent(linkChange(2, { mtu: 1400, up: true })),
    hex('28000000 1000 0500 01000000 00000000   00 00 0000 02000000 01000000 01000000   0800 0400 78050000'),
  )
})
test('linkChange() encodes rp_filter and addr_gen_mode as attributes of their address families', () => {
  assert.equal(
    sent(linkChange(2, { rpFilter: 1, addrGenMode: 1 })).subarray(32),
    hex('2000 1a80   1000 0280 0c00 0180 0800 0800 01000000   0c00 0a80 0500 0800 01 000000'),
  )
})
test('routeAddition() encodes `ip route add default via 10.0.0.1 dev 2`', () => {
  assert.equal(
    sent(routeAddition(2, { dst: '0.0.0.0/0', gw: '10.0.0.1' })),
    hex('2c000000 1800 0506 01000000 00000000   02 00 00 00 fe 04 00 01 00000000   0800 0400 02000000   0800 0500 0a000001'),
  )
})
test('routeAddition() encodes metrics, metric, a table above 255, and onlink; and masks the destination', () => {
  assert.equal(
    sent(routeAddition(2, { dst: '192.0.2.9/24', gw: '10.0.0.1', mtu: 1300, advmss: 1260, priority: 50, table: 300, onlink: true })),
    hex(`58000000 1800 0506 01000000 00000000   02 18 00 00 00 04 00 01 04000000   0800 0100 c0000200   0800 0f00 2c010000   0800 0600 32000000
      1400 0880  0800 0200 14050000  0800 0800 ec040000   0800 0400 02000000   0800 0500 0a000001`),
  )
})
test('ecmpAddition() encodes one route with two next hops', () => {
  const bytes = sent(
    ecmpAddition(2, [
      { dst: '192.0.2.0/24', gw: '10.0.0.1' },
      { dst: '192.0.2.0/24', gw: '10.0.0.2', onlink: true },
    ]),
  )
  assert.equal(
    bytes.subarray(28),
    hex('0800 0100 c0000200   2400 0900   1000 00 00 02000000 0800 0500 0a000001   1000 04 00 02000000 0800 0500 0a000002'),
  )
})
test('decodeAddress() reads the kernel’s answer, with and without a peer', () => {
  assert.equal(decodeAddress(hex('02 20 80 00 02000000   0800 0100 a9fe0101   0800 0200 0af40107')), {
    local: '10.244.1.7',
    peer: '169.254.1.1',
    prefix: 32,
  })
  assert.equal(decodeAddress(hex('0a 40 80 00 02000000   1400 0100 fd660000000000000000000000000001')), { local: 'fd66::1', prefix: 64 })
})
test('decodeRoute() has a route per next hop', () => {
  const payload = hex(
    '02 18 00 00 fe 04 00 01 00000000   0800 0100 c0000200   2400 0900   1000 00 00 02000000 0800 0500 0a000001   1000 04 00 02000000 0800 0500 0a000002',
  )
  assert.equal(
    decodeRoute(payload).map(({ dst, gw }) => `${dst} ${gw}`),
    ['192.0.2.0/24 10.0.0.1', '192.0.2.0/24 10.0.0.2'],
  )
})
test('acknowledge() names the errno, and gives the kernel’s own words', () => {
  const refusal = { type: 2, flags: 0, seq: 7, payload: Buffer.concat([hex('efffffff'), Buffer.alloc(16)]) }
  assert.throws(
    () => acknowledge(refusal),
    (error: unknown) => error instanceof NetlinkError && error.code === 'EEXIST',
  )
  const words = {
    type: 2,
    flags: NLM_F_CAPPED | NLM_F_ACK_TLVS,
    seq: 7,
    payload: Buffer.concat([hex('eaffffff'), Buffer.alloc(16), attribute(1, Buffer.from('mtu less than device minimum\0'))]),
  }
  assert.throws(() => acknowledge(words), /EINVAL \(mtu less than device minimum\)/)
})
test('every truncation of a message is a RangeError', () => {
  const whole = sent(routeAddition(2, { dst: '192.0.2.0/24', gw: '10.0.0.1', mtu: 1300 }))
  for (let length = 1; length < whole.length; length++)
    assert.throws(
      () => messages(whole.subarray(0, length)),
      (error: unknown) => error instanceof RangeError,
    )
})
test('attributes() reads back what attribute() wrote, and never reads past the end', () => {
  const pairs = fc.uniqueArray(fc.tuple(fc.integer({ min: 1, max: 0x3fff }), fc.uint8Array({ maxLength: 40 })), {
    selector: ([type]) => type,
  })
  fc.assert(
    fc.property(pairs, given => {
      const bytes = Buffer.concat(given.map(([type, payload]) => attribute(type, Buffer.from(payload))))
      assert.equal(
        [...attributes(bytes)].map(([type, payload]) => [type, new Uint8Array(payload)]),
        given,
      )
    }),
  )
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), bytes => {
      try {
        attributes(Buffer.from(bytes))
      } catch (error) {
        assert.instance(error, RangeError)
      }
    }),
  )
})

test.run()
