/** Chance that can be given again: TUNLINK_SEED=N makes a test do the same once more. */

/** A generator of numbers from 0 to below 1: mulberry32, of which any 32-bit seed is a good one. */
export function generator(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Choices of a seed. */
export class Chance {
  readonly seed: number
  readonly #next: () => number

  constructor(seed: number) {
    this.seed = seed
    this.#next = generator(seed)
  }

  /** An integer from 0 to below `end`. */
  below(end: number): number {
    return Math.floor(this.#next() * end)
  }

  /** True in `percent` of a hundred calls. */
  happens(percent: number): boolean {
    return this.#next() * 100 < percent
  }

  of<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!
  }
}

/** TUNLINK_SEED, or one of this moment. */
export const firstSeed = (): number => Number(process.env.TUNLINK_SEED ?? Date.now() % 1_000_000)
