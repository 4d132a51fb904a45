import { type DoomedLink, deleteAndWait, LinkDeleter } from '../linux/link-deleter.ts'

/** Deletes devices without waiting for the kernel, where io_uring is available. */
export class Deletions implements Disposable {
  #deleter: LinkDeleter | undefined
  #isRefused = false

  async delete(link: DoomedLink): Promise<void> {
    await (this.#open()?.delete(link) ?? deleteAndWait(link))
  }

  #open(): LinkDeleter | undefined {
    if (this.#deleter !== undefined || this.#isRefused) return this.#deleter
    try {
      this.#deleter = new LinkDeleter()
    } catch {
      this.#isRefused = true // without io_uring the deletion itself waits
    }
    return this.#deleter
  }

  [Symbol.dispose](): void {
    this.#deleter?.[Symbol.dispose]()
  }
}
