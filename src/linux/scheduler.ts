/** The calling thread's scheduling: see sched(7). */
import { closeSync, openSync, readSync } from 'node:fs'
import { func } from './libc.ts'

const SCHED_OTHER = 0
const SCHED_RR = 2
const SCHED_RESET_ON_FORK = 0x40000000

const setScheduler = func('sched_setscheduler', 'int', ['int', 'int', 'void *']) as (
  pid: number,
  policy: number,
  parameters: Buffer,
) => number

/**
 * SCHED_RR with the lowest priority, or SCHED_OTHER; false when that is not allowed (CAP_SYS_NICE,
 * a cgroup without real-time budget).
 */
export function setRealtime(realtime: boolean): boolean {
  const parameters = Buffer.alloc(4) // struct sched_param
  parameters.writeInt32LE(realtime ? 1 : 0)
  return setScheduler(0, realtime ? SCHED_RR | SCHED_RESET_ON_FORK : SCHED_OTHER, parameters) === 0
}

export interface Waiting {
  delay: number
  waits: number
}

/** How long a thread was ready to run but had no CPU. */
export class RunDelay implements Disposable {
  readonly #fd = openSync('/proc/thread-self/schedstat', 'r')
  readonly #text = Buffer.alloc(64)

  /**
   * Since this thread started: how long it has waited to run, in ms, and how often it got a CPU.
   */
  read(): Waiting {
    const length = readSync(this.#fd, this.#text, 0, this.#text.length, 0)
    const [, delay, waits] = this.#text.toString('latin1', 0, length).split(' ')
    return { delay: Number(delay) / 1e6, waits: Number(waits) }
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd)
  }
}
