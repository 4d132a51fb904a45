/** Work by key: of one key one piece at a time, in the order in which it came. */
export class Turns {
  /** The last piece of work of each key. */
  readonly #last = new Map<string, Promise<unknown>>()

  /**
   * Resolves or rejects as `body`, which begins when what came before has ended, however it did.
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
