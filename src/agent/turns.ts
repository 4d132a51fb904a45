/** Runs tasks by key: of each key one task at a time, in the order in which they came. */
export class Turns {
  /** The last task of each key. */
  readonly #last = new Map<string, Promise<unknown>>()

  /**
   * Resolves or rejects as `body` does. `body` begins when the tasks before it have ended,
   * successfully or not.
   */
  async take<T>(key: string, body: () => Promise<T>): Promise<T> {
    const before = this.#last.get(key) ?? Promise.resolve()
    const work = before.then(body, body)
    const settled = work.catch(() => {})
    this.#last.set(key, settled)
    try {
      return await work
    } finally {
      if (this.#last.get(key) === settled) this.#last.delete(key)
    }
  }
}
