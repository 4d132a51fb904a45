/**
 * When a thread that has failed is started again. The cause may be a shortage that passes (memory,
 * threads, files), or a lasting fault: then restarting it all the time would only cost CPU. The
 * cause may also be io_uring.
 */
import type { Mode } from './table.ts'

const FIRST_MS = 50
const LAST_MS = 10_000
/** A thread that ran longer than this was well: its next failure counts as the first. */
const WELL_MS = 10_000
/** After this many failures in a row a thread does without io_uring. */
export const FAILURES_OF_IO_URING = 5

/** Counts the failures of one thread. */
export class Restarts {
  #failures = 0

  /**
   * What to do about a thread in this mode that failed after `ranMs`: how long to wait, and in
   * which mode to start it again.
   */
  failed(mode: Mode, ranMs: number): { afterMs: number; mode: Mode } {
    this.#failures = ranMs >= WELL_MS ? 1 : this.#failures + 1
    const afterMs = Math.min(FIRST_MS * 2 ** (this.#failures - 1), LAST_MS)
    if (mode === 'epoll' || this.#failures < FAILURES_OF_IO_URING) return { afterMs, mode }
    this.#failures = 0
    return { afterMs, mode: 'epoll' }
  }
}
