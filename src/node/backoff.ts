/**
 * Waiting times that double, with jitter, so that a cluster's nodes do not all come back at the
 * same moment.
 */

export class Backoff {
  readonly #firstMs: number
  readonly #mostMs: number
  #nextMs: number

  constructor(firstMs: number, mostMs: number) {
    this.#firstMs = firstMs
    this.#mostMs = mostMs
    this.#nextMs = firstMs
  }

  /**
   * A random time between half and all of the current one, in ms; the next is twice as long.
   * `random` is in [0, 1).
   */
  next(random = Math.random()): number {
    const ms = this.#nextMs * (0.5 + random / 2)
    this.#nextMs = Math.min(this.#nextMs * 2, this.#mostMs)
    return Math.round(ms)
  }

  reset(): void {
    this.#nextMs = this.#firstMs
  }
}
