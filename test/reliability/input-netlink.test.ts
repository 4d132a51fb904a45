/**
 * Replies of the kernel that are cut, too long, or none: every decoder returns or throws
 * RangeError, ends, and takes no byte that is not the reply's.
 */
import fc from 'fast-check'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { decodeDroppingChain } from '../../src/link/forward-policy.ts'
import { decodeAddress } from '../../src/linux/address-messages.ts'
import { holds } from '../../src/linux/attribute-list.ts'
import { decodeLink } from '../../src/linux/link.ts'
import { decodeNeighbour } from '../../src/linux/neighbour.ts'
import { acknowledge, attribute, attributes, messages, NetlinkError, nested } from '../../src/linux/netlink.ts'
import { concerns } from '../../src/linux/nf-watch.ts'
import { chainOf } from '../../src/linux/nfnetlink.ts'
import { keyOf } from '../../src/linux/nft-sets.ts'
import { decodeNodeRoute } from '../../src/linux/node-route.ts'
import { decodeRoute, devicesOf } from '../../src/linux/route.ts'
import { decodeFilter } from '../../src/linux/traffic-control.ts'
import { decodeVxlan } from '../../src/linux/vxlan.ts'
import { cases } from './cases.ts'
import { runs } from './garbage.ts'

const test = suite('netlink replies')

const DECODERS: Record<string, (bytes: Buffer) => unknown> = {
  messages,
  attributes,
  decodeLink,
  decodeVxlan,
  decodeAddress,
  decodeRoute,
  devicesOf,
  decodeNodeRoute: bytes => decodeNodeRoute(bytes, bytes[5] ?? 0),
  decodeNeighbour: bytes => decodeNeighbour(bytes, bytes.length < 8 ? 0 : bytes.readInt32LE(4)),
  decodeFilter,
  decodeDroppingChain,
  concerns: bytes => concerns(bytes, 'tunlink'),
  chainOf,
  keyOf,
  holds: bytes => holds(bytes, bytes.subarray(4)),
}

const bytes = (maxLength: number) => fc.uint8Array({ maxLength }).map(array => Buffer.from(array))
const length = fc.constantFrom(0, 1, 2, 3, 4, 5, 8, 16, 20)

/**
 * Attributes with the types that decoders look for, in each other, some with what is no attribute.
 */
const { tree } = fc.letrec<{ tree: Buffer }>(tie => ({
  tree: fc
    .array(
      fc.tuple(
        fc.oneof(fc.integer({ min: 0, max: 30 }), fc.integer({ min: 0, max: 0xffff })),
        fc.oneof(
          { depthSize: 'small', withCrossShrink: true },
          length.map(size => Buffer.alloc(size, 1)),
          bytes(24),
          fc.constant(Buffer.from('vxlan\0')),
          tie('tree'),
        ),
        fc.boolean(),
      ),
      { maxLength: 6 },
    )
    .map(list =>
      Buffer.concat(list.map(([type, payload, isNested]) => (isNested ? nested(type & 0x3fff, payload) : attribute(type, payload)))),
    ),
}))

/** A family's header, attributes behind it, cut anywhere or with one byte changed. */
const payload = fc
  .tuple(fc.constantFrom(0, 4, 8, 12, 16, 20), bytes(20), tree, fc.option(fc.nat(200)), fc.option(fc.tuple(fc.nat(200), fc.nat(255))))
  .map(([size, head, body, cutAt, change]) => {
    const whole = Buffer.concat([Buffer.concat([head, Buffer.alloc(20)]).subarray(0, size), body])
    if (change !== null && whole.length > 0) whole[change[0] % whole.length] = change[1]
    return cutAt === null ? whole : whole.subarray(0, cutAt)
  })

const input = fc.oneof({ weight: 5, arbitrary: payload }, { weight: 1, arbitrary: bytes(300) })

/**
 * The bytes in the middle of a larger buffer, as a reply lies in the one that it is received into.
 */
function surrounded(bytes: Buffer, by: number): Buffer {
  const around = Buffer.alloc(bytes.length + 512, by)
  bytes.copy(around, 256)
  return around.subarray(256, 256 + bytes.length)
}

/** What a decoder makes of the bytes, as text: a value, or the words of its RangeError. */
function outcome(decode: (bytes: Buffer) => unknown, bytes: Buffer): string {
  try {
    const decoded = decode(bytes)
    return JSON.stringify(decoded instanceof Map ? [...decoded] : decoded) ?? 'undefined'
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    return error.message
  }
}

for (const [name, decode] of Object.entries(DECODERS)) {
  test(`${name}() returns or throws RangeError, whatever lies around the reply`, () => {
    cases(`netlink, ${name}()`, runs(150, 3_000), input, reply =>
      assert.is(outcome(decode, surrounded(reply, 0)), outcome(decode, surrounded(reply, 0xff))),
    )
  })
}

test('an answer to a request is an acknowledgement, a NetlinkError or a RangeError', () => {
  const replies = fc.record({ type: fc.constant(2), flags: fc.nat(0xffff), seq: fc.nat(5), payload: input })
  cases('netlink, acknowledge()', runs(300, 5_000), replies, reply => {
    try {
      acknowledge(reply)
      assert.is(reply.payload.readInt32LE(0), 0)
    } catch (error) {
      assert.ok(error instanceof NetlinkError || error instanceof RangeError, String(error))
    }
  })
})

test('attributes in each other are taken apart as deep as a reply can be', () => {
  let deep: Buffer = Buffer.from('x')
  while (deep.length < 65_000) deep = nested(4, deep)
  assert.type(
    outcome(bytes => holds(bytes, bytes), deep),
    'string',
  )
})

test.run()
