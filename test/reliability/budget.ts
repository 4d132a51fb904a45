/** How much of a sweep is run: a sample in seconds, or all of it in hours. */

/** TUNLINK_LONG=1: the long form. */
export const isLong = process.env.TUNLINK_LONG === '1'

/** The seed of every choice, printed so that a run can be repeated: TUNLINK_SEED. */
export const SEED = Number(process.env.TUNLINK_SEED ?? Date.now() % 1_000_000)

/**
 * Time for one file (TUNLINK_SECONDS; in the long form no limit), shared out among its scenarios:
 * what one leaves is the others'.
 */
export class Budget {
  readonly #untilMs = Date.now() + Number(process.env.TUNLINK_SECONDS ?? (isLong ? Number.POSITIVE_INFINITY : 12)) * 1000
  #shares: number

  constructor(shares: number) {
    this.#shares = shares
  }

  /** When the next scenario has to stop, in ms since the epoch. */
  next(): number {
    const now = Date.now()
    return now + Math.max(this.#untilMs - now, 0) / Math.max(this.#shares--, 1)
  }
}

/** A call that a garbage collector or a clock made in one run is not made in every run. */
export const TRIES = 3
/**
 * The part of the calls that must have been struck in one of so many tries. An agent that waits for
 * the thread of a wire looks more often on a busy machine: there it was 0.86.
 */
export const MOST_STRIKE = 0.8

const SHORT_SCENARIOS = 4

/**
 * The scenarios of this run: all, or some in the short form. TUNLINK_SCENARIO: those whose name has
 * this text.
 */
export function chosen<T extends { name: string }>(scenarios: T[]): T[] {
  console.log(`seed ${SEED}: repeat with TUNLINK_SEED=${SEED}${isLong ? ' TUNLINK_LONG=1' : ''}`)
  const wanted = process.env.TUNLINK_SCENARIO
  if (wanted !== undefined) return scenarios.filter(({ name }) => name.includes(wanted))
  return isLong ? scenarios : shuffled(scenarios, SEED).slice(0, SHORT_SCENARIOS)
}

/** TUNLINK_POINT: only the points whose name has this text, to repeat one. */
export const isWanted = (name: string): boolean => name.includes(process.env.TUNLINK_POINT ?? '')

/** The items in an order that the seed gives. */
export function shuffled<T>(items: T[], seed: number): T[] {
  const random = randomFrom(seed)
  const order = [...items]
  for (let at = order.length - 1; at > 0; at--) {
    const other = Math.floor(random() * (at + 1))
    ;[order[at], order[other]] = [order[other]!, order[at]!]
  }
  return order
}

/** mulberry32: numbers from 0 to below 1. */
function randomFrom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
