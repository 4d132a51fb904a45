/** What tunlinkd is made of: parts that each keep one thing as it should be. */

export interface Part {
  /** In logs, in /readyz and, as NameFailed, in events. */
  name: string
  /**
   * Milliseconds from the begin of one run to the begin of the next. Loop.wake() lets it run at
   * once.
   */
  everyMs: number
  /**
   * Sets up, or heals, by one path. What it throws is told when it begins and when it is over; the
   * other parts go on.
   */
  run(): void | Promise<void>
  /** Lets go of what must not outlive tunlinkd; run() is not called any more. */
  end?(): void
}
