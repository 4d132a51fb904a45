/**
 * When the machine is starved of CPU, the wire must not be the victim: ten senders and ten receivers outvote one forwarder, and a packet waits
 * for every time slice that somebody else is given. SCHED_RR cures that; but on a machine at rest it makes a round trip slower, for the
 * wake-up then loses the CPU whose cache is warm. So the thread is real-time only while it is starved.
 */
import { RunDelay, setRealtime } from '../linux/scheduler.ts'

const WINDOW_MS = 20
/** Share of a window that the thread had to wait for a CPU. */
const STARVED = 0.1
/** Windows under SCHED_RR before another look: there it never waits, so it cannot tell whether it still would. */
const PROBATION_WINDOWS = 50

/** Decides, from the clock and the run delay (both in ms), whether to be real-time. Pure: no clock and no system call of its own. */
export class StarvationPolicy {
  #windowStart = 0
  #delayStart = 0
  #windowsLeft = 0

  /** True when a window is over: then decide() is to be called. */
  isDue(now: number): boolean {
    return now - this.#windowStart >= WINDOW_MS
  }

  decide(now: number, runDelay: number): boolean {
    const [elapsed, delayed] = [now - this.#windowStart, runDelay - this.#delayStart]
    this.#windowStart = now
    this.#delayStart = runDelay
    if (this.#windowsLeft > 0) this.#windowsLeft--
    else if (elapsed < 5 * WINDOW_MS && delayed > STARVED * elapsed) this.#windowsLeft = PROBATION_WINDOWS
    return this.#windowsLeft > 0
  }
}

/** Applies the policy to the calling thread. */
export class Starvation {
  readonly #policy = new StarvationPolicy()
  readonly #delay = new RunDelay()
  realtime = false
  #allowed = true

  /** To be called once a turn. */
  check(now: number): void {
    if (!this.#allowed || !this.#policy.isDue(now)) return
    const wanted = this.#policy.decide(now, this.#delay.read())
    if (wanted === this.realtime) return
    this.#allowed = setRealtime(wanted)
    this.realtime = wanted && this.#allowed
  }
}
