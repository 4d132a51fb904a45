/** Parts run when they are due, each for itself. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { Loop } from '../../src/node/loop.ts'
import type { Part } from '../../src/node/parts/part.ts'

const test = suite('loop')

/** A loop of `parts` that writes down what happens. */
function loopOf(...parts: Part[]) {
  const told: string[] = []
  const failed = (part: string, error: unknown) => void told.push(`${part} failed: ${(error as Error).message}`)
  const loop = new Loop(parts, { failed, passed: (part, again) => void told.push(again ? `${part} recovered` : part) })
  return { loop, told }
}

const part = (name: string, everyMs: number, run: Part['run'] = () => {}): Part => ({ name, everyMs, run })

test('each part runs in the order of the list, when it is due', () => {
  const { loop, told } = loopOf(part('a', 1_000), part('b', 5_000))
  for (const nowMs of [0, 500, 1_000, 4_999, 5_000]) loop.round(nowMs)
  assert.equal(told, ['a', 'b', 'a', 'a', 'b'])
  assert.is(loop.restMs(5_000), 999)
})
test('wake() lets a part run at once', () => {
  const { loop, told } = loopOf(part('a', 1_000), part('b', 60_000))
  loop.round(0)
  loop.wake('b')
  assert.is(loop.restMs(1), 0)
  loop.round(1)
  assert.equal(told, ['a', 'b', 'b'])
})
test('a part that fails does not keep the others from running, and recovers once', () => {
  let isBroken = true
  const broken = part('broken', 1_000, () => {
    if (isBroken) throw new Error('no')
  })
  const { loop, told } = loopOf(broken, part('b', 1_000))
  loop.round(0)
  isBroken = false
  loop.round(1_000)
  loop.round(2_000)
  assert.equal(told, ['broken failed: no', 'b', 'broken recovered', 'b', 'broken', 'b'])
})
test('a part that waits keeps nobody waiting, is not run twice, and is stuck after a minute', async () => {
  let end = () => {}
  const slow = part('slow', 1_000, () => new Promise<void>(resolve => (end = resolve)))
  const { loop, told } = loopOf(slow, part('b', 1_000))
  loop.round(0)
  loop.round(1_000)
  assert.equal(told, ['b', 'b'])
  loop.round(60_000)
  assert.is(loop.stuck(60_000), undefined)
  assert.is(loop.stuck(60_001), 'slow')
  end()
  await new Promise(resolve => setImmediate(resolve))
  assert.is(loop.stuck(60_001), undefined)
  assert.is(told.at(-1), 'slow')
  assert.is(loop.stuck(120_001), 'the loop')
})
test('run() ends after stop(), and what a part rejects with is told', async () => {
  const { loop, told } = loopOf(part('a', 60_000, () => Promise.reject(new Error('later'))))
  const running = loop.run()
  await new Promise(resolve => setImmediate(resolve))
  loop.stop()
  await running
  assert.equal(told, ['a failed: later'])
})

test.run()
