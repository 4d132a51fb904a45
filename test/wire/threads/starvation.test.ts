/**
 * When the wire's thread is real-time: only while it is starved. Numbers are those measured, see
 * src/wire/starvation.ts.
 */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { StarvationPolicy } from '../../../src/wire/threads/starvation.ts'

/**
 * Of a window of 20 ms: the ms that the thread has waited, in how many turns, and the packets it
 * has passed.
 */
type Window = [delay: number, waits: number, packets: number]

/** The decisions of one thread. */
class Thread {
  readonly #policy = new StarvationPolicy()
  #windows = 0
  #waiting = { delay: 0, waits: 0 }
  #packets = 0

  window(...[delay, waits, packets]: Window): boolean {
    this.#waiting = { delay: this.#waiting.delay + delay, waits: this.#waiting.waits + waits }
    this.#packets += packets
    return this.#policy.decide(20 * ++this.#windows, this.#waiting, this.#packets)
  }

  windows(count: number, ...each: Window): boolean[] {
    return Array.from({ length: count }, () => this.window(...each))
  }
}

const STARVED: Window = [3.2, 280, 280]
const CALM: Window = [0.3, 250, 250]

const test = suite('wire: starvation')

for (const [load, each] of [
  ['one TCP stream', [7.4, 131, 1200]],
  ['four TCP streams', [8.1, 92, 1260]],
  ['a flood of small datagrams', [9, 194, 3000]],
  ['one byte there and back', CALM],
  ['no packets', [0.01, 10, 0]],
] satisfies [string, Window][])
  test(`${load}: left alone`, () => assert.not.ok(new Thread().windows(49, ...each).some(Boolean)))

for (const [load, each] of [
  ['ten busy pods', [9.4, 6, 600]],
  ['one byte there and back beside programs that never sleep', STARVED],
] satisfies [string, Window][])
  test(`${load}: real-time from the second window on`, () => assert.equal(new Thread().windows(3, ...each), [false, true, true]))

test('one window alone decides nothing', () => {
  const thread = new Thread()
  for (let times = 0; times < 20; times++) assert.equal([thread.window(...STARVED), thread.window(...CALM)], [false, false])
})
test('it stays so for a second, and not for ever', () => {
  const thread = new Thread()
  assert.equal(thread.windows(2, ...STARVED), [false, true])
  const calm = thread.windows(60, ...CALM)
  assert.equal([calm[0], calm.at(-1)], [true, false])
  assert.is(calm.filter(Boolean).length, 49)
})
test('where nothing has changed after that second it stays so for two', () => {
  const thread = new Thread()
  thread.windows(2, ...STARVED)
  const [second, look, again, ...next] = [thread.windows(49, ...CALM), ...thread.windows(101, ...STARVED)]
  assert.ok(second.every(Boolean))
  assert.equal([look, again], [false, true])
  assert.ok(next.every(Boolean))
})

test.run()
