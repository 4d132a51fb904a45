/**
 * How long answers to bad input take, each beside the answer to a good request at the same moment:
 * a machine that is busy is busy for both.
 */
import * as assert from 'uvu/assert'
import { median, percentile } from '../../bench/measure.ts'

/**
 * A bad answer may take so many times as long as the good one beside it: an ADD that makes a link
 * before it fails takes seven times as long as VERSION.
 */
const SLOW = 20
/** In the middle of all of them so many times. */
const SLOW_IN_THE_MIDDLE = 3
/** What the machine was late with is quick when it is asked again; what waits is not. */
const MOST_TRIES = 4

export class AnswerTimes {
  readonly #what: string
  readonly #ratios: number[] = []
  #longestMs = 0

  constructor(what: string) {
    this.#what = what
  }

  /**
   * Runs `good` and `bad`, which resolve with the time of their answer in ms. Throws when the bad
   * one is slow time and again.
   */
  async compare(context: string, good: () => Promise<number> | number, bad: () => Promise<number> | number): Promise<void> {
    const tries: number[] = []
    do {
      const goodMs = await good()
      const badMs = await bad()
      tries.push(badMs / goodMs)
      this.#longestMs = Math.max(this.#longestMs, badMs)
    } while (tries.at(-1)! > SLOW && tries.length < MOST_TRIES)
    this.#ratios.push(Math.min(...tries))
    assert.ok(tries.at(-1)! <= SLOW, `${tries.map(ratio => ratio.toFixed(1))} times as slow as a good request: ${context}`)
  }

  /** Prints the figures; throws when most of the answers are slow. */
  verify(): void {
    const [middle, late] = [median(this.#ratios), percentile(this.#ratios, 0.99)].map(ratio => ratio.toFixed(1))
    console.log(
      `\nfigure: input, ${this.#what}: the longest answer took ${Math.ceil(this.#longestMs)} ms; ` +
        `the median is ${middle} times that of a good request beside it, the 99th percentile ${late} times`,
    )
    assert.ok(median(this.#ratios) <= SLOW_IN_THE_MIDDLE, `${this.#what}: ${middle} times`)
  }
}

/** What `body` resolves with, and the ms that it took. */
export async function timed<T>(body: () => Promise<T> | T): Promise<[T, number]> {
  const startedMs = performance.now()
  const result = await body()
  return [result, performance.now() - startedMs]
}
