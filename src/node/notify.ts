/**
 * Warnings for the operator: logged, and sent to the API as an Event of this node. Each is sent
 * once until it changes, or an hour has passed.
 */
import type { Kube, NodeEvent } from './kube.ts'
import { describe, log } from './log.ts'

const REPEAT_MS = 3_600_000

export class Notifier {
  readonly #kube: Kube | undefined
  readonly #node: string
  readonly #told = new Map<string, { message: string; atMs: number }>()

  constructor(kube: Kube | undefined, node: string) {
    this.#kube = kube
    this.#node = node
  }

  tell(type: NodeEvent['type'], reason: string, message: string): void {
    const told = this.#told.get(reason)
    if (told?.message === message && performance.now() - told.atMs < REPEAT_MS) return
    this.#told.set(reason, { message, atMs: performance.now() })
    ;(type === 'Normal' ? log.info : log.warn)(message, { reason })
    this.#kube?.event(this.#node, { type, reason, message }).catch(error => log.warn('event not sent', { reason, error: describe(error) }))
  }

  /** Warns while there is a `message`; undefined: the trouble is over. */
  warnWhile(reason: string, message: string | undefined): void {
    if (message === undefined) this.forget(reason)
    else this.tell('Warning', reason, message)
  }

  /** The trouble `reason` is over: it will be reported again when it comes back. */
  forget(reason: string): void {
    this.#told.delete(reason)
  }
}
