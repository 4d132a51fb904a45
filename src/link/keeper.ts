/**
 * What the process that runs a verb does for links beyond the kernel's work: the agent all of it, a
 * plugin process without an agent nearly nothing.
 */
import type { DoomedLink } from '../linux/link-deleter.ts'
import type { Ends } from './apply.ts'
import type { LinkPlan } from './plan.ts'

export interface Keeper {
  /**
   * Takes the descriptors of a link that was just made, which belong to the keeper from now on.
   * Rejects when a thread wire cannot be had.
   */
  keep(plan: LinkPlan, ends: Ends): Promise<void>
  /** Lets go of the link's descriptors, if it has any: `link` is the name of the node's end. */
  letGo(link: string): Promise<void>
  /** Deletes a device: resolves when nobody sees it any more. */
  deleteLink(link: DoomedLink): Promise<void>
}
