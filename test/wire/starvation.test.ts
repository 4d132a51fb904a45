/** When the wire's thread is real-time: only while it is starved. Numbers are those measured, see src/wire/starvation.ts. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { StarvationPolicy } from '../../src/wire/starvation.ts'

/** The decisions of a second of windows, in each of which the thread runs and waits so many ms, in so many turns. */
function decisions(run: number, delay: number, waits: number, policy = new StarvationPolicy()): boolean[] {
  return Array.from({ length: 49 }, (_, index) => {
    const count = index + 1
    return policy.decide(20 * count, { run: run * count, delay: delay * count, waits: waits * count })
  })
}

const test = suite('wire: starvation')

test('a busy thread that waits often and briefly is left alone', () => assert.not.ok(decisions(11, 4.6, 580).some(Boolean)))
test('an idle thread is left alone', () => assert.not.ok(decisions(0.1, 0.01, 10).some(Boolean)))
test('a thread that waits long each time is made real-time', () => assert.ok(decisions(17.6, 2.4, 4)[0]))
test('a thread with little work that waits for whole time slices is made real-time', () => assert.ok(decisions(3, 2.5, 200)[0]))
test('it stays so for a second, and not for ever', () => {
  const policy = new StarvationPolicy()
  assert.ok(policy.decide(20, { run: 1, delay: 5, waits: 2 }))
  const calm = Array.from({ length: 60 }, (_, index) => policy.decide(40 + 20 * index, { run: 1, delay: 5, waits: 2 }))
  assert.equal([calm[0], calm.at(-1)], [true, false])
  assert.is(calm.filter(Boolean).length, 49)
})

test.run()
