/**
 * When the machine is starved of CPU, the wire must not be the victim: ten senders and ten receivers outvote one forwarder, and a packet waits
 * for every time slice that somebody else is given. SCHED_RR cures that; but on a machine that is not starved it makes things slower, for the
 * wake-up then loses the CPU whose cache is warm. So the thread is real-time only while it is starved.
 *
 * What tells the two apart was measured on two CPUs. One or four busy TCP streams: the thread waits 5 to 35 us each time, a fifth of the
 * time in all, and that is well. Ten busy pods: it waits 600 us each time. Two programs that never sleep, and a link with a light load: it
 * waits a few us nearly always, and some ms now and then, which shows as much waiting beside little work.
 */
import { RunDelay, setRealtime, type Waiting } from '../linux/scheduler.ts'

const WINDOW_MS = 20
/** Less waiting in a window than this is never starvation. */
const LEAST_DELAY_MS = 1.5
const LONG_WAIT_MS = 0.1
const LIGHT_LOAD = 0.35
/** Windows under SCHED_RR before another look: there it never waits, so it cannot tell whether it still would. */
const PROBATION_WINDOWS = 50

/** Decides, from the clock (ms) and what the kernel says of the thread's waiting, whether to be real-time. No clock of its own. */
export class StarvationPolicy {
  #started = 0
  #before: Waiting = { run: 0, delay: 0, waits: 0 }
  #windowsLeft = 0

  /** True when a window is over: then decide() is to be called. */
  isDue(now: number): boolean {
    return now - this.#started >= WINDOW_MS
  }

  decide(now: number, waiting: Waiting): boolean {
    const before = this.#before
    const delay = waiting.delay - before.delay
    const longWaits = delay > LONG_WAIT_MS * (waiting.waits - before.waits)
    const lightLoad = waiting.run - before.run < LIGHT_LOAD * (now - this.#started)
    const starved = delay > LEAST_DELAY_MS && (longWaits || lightLoad)
    this.#started = now
    this.#before = waiting
    if (this.#windowsLeft > 0) this.#windowsLeft--
    else if (starved) this.#windowsLeft = PROBATION_WINDOWS
    return this.#windowsLeft > 0
  }
}

/** Applies the policy to the calling thread. */
export class Starvation {
  realtime = false
  readonly #policy = new StarvationPolicy()
  readonly #delay = new RunDelay()
  #allowed = true

  /** To be called once a turn, `now` in ms. */
  check(now: number): void {
    if (!this.#allowed || !this.#policy.isDue(now)) return
    const wanted = this.#policy.decide(now, this.#delay.read())
    if (wanted === this.realtime) return
    this.#allowed = setRealtime(wanted)
    this.realtime = wanted && this.#allowed
  }
}
