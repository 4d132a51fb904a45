/** The parts of tunlinkd: each keeps one thing as it should be. */

export interface Part {
  /** Its name in logs, in /readyz and, as NameFailed, in events. */
  name: string
  /**
   * Milliseconds from the start of one run to the start of the next. Loop.wake() runs it at once.
   */
  everyMs: number
  /**
   * Sets up and repairs, in the same way. An error is reported when it begins and when it is over;
   * the other parts go on.
   */
  run(): void | Promise<void>
  /** Lets go of what must not outlive tunlinkd; run() is not called any more. */
  end?(): void
}
