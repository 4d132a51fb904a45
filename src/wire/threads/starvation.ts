/**
 * When the machine is starved of CPU, the wire must not be the victim: ten senders and ten
 * receivers outvote one forwarder, and a packet waits for every time slice that somebody else is
 * given. SCHED_RR cures that; but on a machine that is not starved it makes things slower, for the
 * wake-up then loses the CPU whose cache is warm. So the thread is real-time only while it is
 * starved.
 *
 * What tells the two apart was measured on two CPUs. One or four busy TCP streams, or a flood of
 * small datagrams: the thread waits for two fifths of the time, 40 to 90 us each time, and finds 5
 * to 16 packets when it runs; that is well, for it waits for the very programs that it works for.
 * Ten busy pods: it waits 1.6 ms each time. A link with a light load beside two programs that never
 * sleep: a few us nearly always, and some ms now and then, for a single packet each time.
 */
import { RunDelay, setRealtime, type Waiting } from '../../linux/scheduler.ts'

const WINDOW_MS = 20
/** Less waiting than this in a window is never starvation. */
const LEAST_DELAY_MS = 1.5
const LONG_WAIT_MS = 0.4
/** Packets found after each wait: with fewer, somebody waits for each packet. */
const FEW_PACKETS = 1.5
/**
 * Windows under SCHED_RR before the thread tries without it, twice as many after each try that
 * shows no change: under SCHED_RR it never waits, so it cannot tell.
 */
const LEAST_PROBATION = 50
const MOST_PROBATION = 400

/**
 * Decides whether to be real-time, from the clock (ms), the kernel's account of the thread's
 * waiting, and the packets passed.
 */
export class StarvationPolicy {
  #started = 0
  #before = { delay: 0, waits: 0, packets: 0 }
  #wasStarved = false
  #probation = LEAST_PROBATION
  #windowsLeft = 0

  /** True when a window is over: then decide() must be called. */
  isDue(now: number): boolean {
    return now - this.#started >= WINDOW_MS
  }

  /**
   * `packets` are all since the thread started. At first two windows in a row decide: one alone may
   * be chance.
   */
  decide(now: number, waiting: Waiting, packets: number): boolean {
    const before = this.#before
    const delay = waiting.delay - before.delay
    const waits = waiting.waits - before.waits
    const starved = delay > LEAST_DELAY_MS && (delay > LONG_WAIT_MS * waits || packets - before.packets < FEW_PACKETS * waits)
    if (this.#windowsLeft > 0) this.#windowsLeft--
    else if (!starved) this.#probation = LEAST_PROBATION
    else if (this.#wasStarved || this.#probation > LEAST_PROBATION) {
      this.#windowsLeft = this.#probation
      this.#probation = Math.min(2 * this.#probation, MOST_PROBATION)
    }
    this.#started = now
    this.#before = { ...waiting, packets }
    this.#wasStarved = starved
    return this.#windowsLeft > 0
  }
}

/** Applies the policy to the calling thread. */
export class Starvation implements Disposable {
  realtime = false
  readonly #policy = new StarvationPolicy()
  readonly #delay = new RunDelay()
  #allowed = true

  /** Must be called once a turn: `now` in ms, `packets` passed so far. */
  check(now: number, packets: number): void {
    if (!this.#allowed || !this.#policy.isDue(now)) return
    const wanted = this.#policy.decide(now, this.#delay.read(), packets)
    if (wanted === this.realtime) return
    this.#allowed = setRealtime(wanted)
    this.realtime = wanted && this.#allowed
  }

  [Symbol.dispose](): void {
    this.#delay[Symbol.dispose]()
  }
}
