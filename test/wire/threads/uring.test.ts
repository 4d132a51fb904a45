/**
 * The wire's logic against a simulated ring: whatever the kernel takes or refuses, packets arrive
 * once, whole and in order.
 */
import fc from 'fast-check'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { COUNTER_FIELDS, DROPS, HOST, PACKETS, POD } from '../../../src/wire/threads/table.ts'
import { BUFFERS, UringWires } from '../../../src/wire/threads/uring.ts'
import { SimulatedRing } from './simulated-ring.ts'

const podFd = (wire: number) => 100 + 2 * wire
const hostFd = (wire: number) => 101 + 2 * wire

function setUp(entries = 64, wires = 3) {
  const ring = new SimulatedRing(entries)
  const counters = new Float64Array(2 * COUNTER_FIELDS * 8)
  const events: string[] = []
  const engine = new UringWires(
    {
      ring,
      counters,
      memory: wire => ring.area(wire),
      onGone: wire => events.push(`gone ${wire}`),
      onParted: wire => events.push(`parted ${wire}`),
      onWake: () => events.push('woken'),
    },
    1000,
    8,
  )
  for (let wire = 0; wire < wires; wire++) engine.join(wire, podFd(wire), hostFd(wire))
  engine.turn(1)
  const counter = (wire: number, end: number, field: number) => counters[(2 * wire + end) * COUNTER_FIELDS + field]
  return { ring, engine, events, counter }
}

const packets = (name: string, count: number) => Array.from({ length: count }, (_, index) => `${name}-${index}`)

const test = suite('wire: io_uring')

test('packets pass in both directions, many more than there are buffers', () => {
  const { ring, engine, counter } = setUp()
  const [up, down] = [packets('up', 10 * BUFFERS + 3), packets('down', 5 * BUFFERS)]
  ring.incoming.set(podFd(0), [...up])
  ring.incoming.set(hostFd(0), [...down])
  for (let turn = 0; turn < 40; turn++) engine.turn(1)
  assert.equal(ring.written.get(hostFd(0)), up)
  assert.equal(ring.written.get(podFd(0)), down)
  assert.is(counter(0, POD, PACKETS), up.length)
  assert.is(counter(0, HOST, PACKETS), down.length)
})

test('any traffic, with submissions cut short anywhere: once, whole, in order', () => {
  const step = fc.record({ wire: fc.nat(2), pod: fc.boolean(), count: fc.nat(3 * BUFFERS), most: fc.integer({ min: 1, max: 20 }) })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), fc.constantFrom(8, 16, 64), (steps, entries) => {
      const { ring, engine } = setUp(entries)
      const sent = new Map<number, string[]>()
      let serial = 0
      for (const { wire, pod, count, most } of steps) {
        const [from, to] = pod ? [podFd(wire), hostFd(wire)] : [hostFd(wire), podFd(wire)]
        const fresh = packets(`p${serial++}`, count)
        ring.incoming.set(from, [...(ring.incoming.get(from) ?? []), ...fresh])
        sent.set(to, [...(sent.get(to) ?? []), ...fresh])
        ring.most = most
        engine.turn(1)
      }
      ring.most = Infinity
      for (let turn = 0; turn < 400; turn++) engine.turn(1)
      for (const [fd, expected] of sent) assert.equal(ring.written.get(fd) ?? [], expected)
    }),
    { numRuns: 300 },
  )
})

test('a saturated wire delays another by one turn at most', () => {
  const { ring, engine } = setUp()
  ring.incoming.set(podFd(0), packets('flood', 1000))
  for (let turn = 0; turn < 5; turn++) engine.turn(1)
  ring.incoming.set(podFd(1), ['urgent'])
  engine.turn(1) // taken
  engine.turn(1) // written
  assert.equal(ring.written.get(hostFd(1)), ['urgent'])
  assert.ok(ring.incoming.get(podFd(0))!.length > 0, 'the flood goes on')
})

test('what the other end refuses is dropped and counted', () => {
  const { ring, engine, counter } = setUp()
  ring.down.add(hostFd(0))
  ring.incoming.set(podFd(0), packets('lost', 5))
  for (let turn = 0; turn < 4; turn++) engine.turn(1)
  assert.is(counter(0, POD, DROPS), 5)
  ring.down.clear()
  ring.incoming.set(podFd(0), ['again'])
  for (let turn = 0; turn < 4; turn++) engine.turn(1)
  assert.equal(ring.written.get(hostFd(0)), ['again'])
})

test('a device that is gone is told of once, its read never armed again, and its wire can be parted', () => {
  const { ring, engine, events } = setUp()
  ring.gone.add(podFd(1))
  for (let turn = 0; turn < 10; turn++) engine.turn(1)
  assert.equal(events, ['gone 1'])
  assert.is(ring.armed, 5)
  engine.part(1)
  for (let turn = 0; turn < 4; turn++) engine.turn(1)
  assert.equal(events, ['gone 1', 'parted 1'])
  assert.is(ring.bufferRings, 4)
})

test('a wire is parted in the midst of traffic, and its place taken by another', () => {
  const { ring, engine, events } = setUp()
  ring.incoming.set(podFd(0), packets('before', 100))
  for (let turn = 0; turn < 3; turn++) engine.turn(1)
  engine.part(0)
  for (let turn = 0; turn < 6; turn++) engine.turn(1)
  assert.equal(events, ['parted 0'])
  const passed = ring.written.get(hostFd(0))!
  assert.equal(passed, packets('before', 100).slice(0, passed.length), 'what was read was written')
  engine.join(0, 300, 301)
  ring.incoming.set(300, ['after'])
  for (let turn = 0; turn < 4; turn++) engine.turn(1)
  assert.equal(ring.written.get(301), ['after'])
})

test('the eventfd wakes, again and again', () => {
  const { ring, engine, events } = setUp()
  for (let count = 0; count < 3; count++) {
    ring.woken = true
    for (let turn = 0; turn < 3; turn++) engine.turn(1)
  }
  assert.equal(events, ['woken', 'woken', 'woken'])
})

test.run()
