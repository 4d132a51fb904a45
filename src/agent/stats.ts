/**
 * Durations of ADD and DEL, from the start of the plugin's process to the answer, and their errors:
 * a Prometheus histogram for each verb.
 */

/** Upper bounds of the buckets, in seconds. */
const LE = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5]

export type Verbs = Record<
  string,
  { seconds: { le: number[]; counts: number[]; sum: number; count: number }; errors: Record<string, number> }
>

export class Stats {
  readonly #verbs = { ADD: new Histogram(), DEL: new Histogram() }

  /**
   * `started` in ms since the epoch; `code` is the CNI code of a failure. Where the clock was set
   * meanwhile the duration is not known, and counts as 0: a sum must not fall.
   */
  record(verb: 'ADD' | 'DEL', started: number, code?: number): void {
    this.#verbs[verb].record(Math.max(Date.now() - started, 0) / 1000, code)
  }

  /**
   * `counts` has one entry more than `le`, for calls slower than the last bound; not cumulative.
   */
  toJSON() {
    return this.#verbs
  }
}

class Histogram {
  readonly seconds = { le: LE, counts: Array.from({ length: LE.length + 1 }, () => 0), sum: 0, count: 0 }
  readonly errors: Record<string, number> = {}

  record(seconds: number, code: number | undefined): void {
    const bucket = LE.findIndex(bound => seconds <= bound)
    this.seconds.counts[bucket < 0 ? LE.length : bucket]!++
    this.seconds.sum += seconds
    this.seconds.count++
    if (code !== undefined) this.errors[code] = (this.errors[code] ?? 0) + 1
  }
}
