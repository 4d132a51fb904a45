/**
 * What the process that runs a verb does for links beside the kernel's work: the agent holds and
 * deletes devices; a plugin process without an agent does nearly nothing.
 */
import type { DoomedLink } from '../linux/link-deleter.ts'
import type { Ends } from './apply.ts'
import type { LinkPlan } from './plan.ts'

export interface Keeper {
  /**
   * Takes over the descriptors of a link that was just made. Rejects when a thread wire cannot be
   * had.
   */
  keep(plan: LinkPlan, ends: Ends): Promise<void>
  /** Closes the link's descriptors, if it holds any: `link` is the name of the node's end. */
  letGo(link: string): Promise<void>
  /** Deletes a device; resolves when no process can see it any more. */
  deleteLink(link: DoomedLink): Promise<void>
}
