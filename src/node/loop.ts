/**
 * The loop of tunlinkd: runs each part when it is due. A part that waits does not delay the others.
 */
import type { Part } from './parts/part.ts'

/**
 * A part that has run for longer is stuck: everything that parts wait for has a shorter timeout.
 */
const STUCK_MS = 60_000
/** The loop turns at least this often: so its liveness can be seen. */
const MOST_REST_MS = 1_000

export interface LoopEvents {
  failed(part: string, error: unknown): void
  /** The part has succeeded; `again` is true when it had failed before. */
  passed(part: string, again: boolean): void
}

export class Loop {
  readonly #parts: Part[]
  readonly #events: LoopEvents
  /** When each part is due next, in ms of `now`; a part that is missing here is due at once. */
  readonly #dueMs = new Map<string, number>()
  readonly #runningSinceMs = new Map<string, number>()
  readonly #failing = new Set<string>()
  #roundMs = performance.now()
  #endRest = () => {}
  #stopping = false

  constructor(parts: Part[], events: LoopEvents) {
    this.#parts = parts
    this.#events = events
  }

  /** Resolves after stop(). */
  async run(): Promise<void> {
    while (!this.#stopping) {
      this.round(performance.now())
      const restMs = Math.min(this.restMs(performance.now()), MOST_REST_MS)
      await new Promise<void>(resolve => {
        const timer = setTimeout(resolve, restMs)
        this.#endRest = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
  }

  stop(): void {
    this.#stopping = true
    this.#endRest()
  }

  /** Starts every part that is due and not running, in the order of the list. */
  round(nowMs: number): void {
    this.#roundMs = nowMs
    for (const part of this.#parts) {
      if (this.#runningSinceMs.has(part.name) || nowMs < (this.#dueMs.get(part.name) ?? 0)) continue
      this.#dueMs.set(part.name, nowMs + part.everyMs)
      this.#start(part, nowMs)
    }
  }

  /** Makes these parts due now; one that is running runs again afterwards. */
  wake(...names: string[]): void {
    for (const name of names) this.#dueMs.delete(name)
    this.#endRest()
  }

  /** Milliseconds until the next part that is not running is due. */
  restMs(nowMs: number): number {
    const due = this.#parts.filter(({ name }) => !this.#runningSinceMs.has(name)).map(({ name }) => this.#dueMs.get(name) ?? 0)
    return Math.max(0, Math.min(...due) - nowMs)
  }

  /** The name of what is stuck: a part, or the loop itself; undefined when nothing is. */
  stuck(nowMs: number): string | undefined {
    if (nowMs - this.#roundMs > STUCK_MS) return 'the loop'
    return [...this.#runningSinceMs].find(([, sinceMs]) => nowMs - sinceMs > STUCK_MS)?.[0]
  }

  #start(part: Part, nowMs: number): void {
    let running: void | Promise<void>
    try {
      running = part.run()
    } catch (error) {
      this.#failed(part.name, error)
      return
    }
    if (running === undefined) {
      this.#passed(part.name)
      return
    }
    this.#runningSinceMs.set(part.name, nowMs)
    running
      .then(
        () => this.#passed(part.name),
        error => this.#failed(part.name, error),
      )
      .finally(() => {
        this.#runningSinceMs.delete(part.name)
        this.#endRest()
      })
  }

  #passed(name: string): void {
    this.#events.passed(name, this.#failing.delete(name))
  }

  #failed(name: string, error: unknown): void {
    this.#failing.add(name)
    this.#events.failed(name, error)
  }
}
