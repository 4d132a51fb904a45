/** Takes a plan out of the kernel. What is missing already counts as removed. */
import { NetlinkSocket } from '../linux/netlink.ts'
import { removePodEnd } from './apply.ts'
import { isGone, removeDevice } from './device.ts'
import { removeMasqueradeFor } from './node.ts'
import type { LinkPlan } from './plan.ts'
import { recordRemove } from './record.ts'

/** The record goes last, so that a removal that fails or is killed is found again by the next DEL or GC. */
export function remove(dataDir: string, plan: LinkPlan): void {
  if (plan.host !== undefined) removeHostEnd(plan)
  ignoreGone(() => removePodEnd(plan))
  if (plan.masquerade.length > 0) removeMasqueradeFor(plan)
  recordRemove(dataDir, plan)
}

function removeHostEnd(plan: LinkPlan): void {
  const node = new NetlinkSocket()
  try {
    removeDevice(node, plan.host!.ifname, plan)
  } finally {
    node[Symbol.dispose]()
  }
}

/** A namespace path that is gone, or is no namespace any more, has no link of ours. */
function ignoreGone(body: () => void): void {
  try {
    body()
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (!isGone(error) && code !== 'ENOTDIR' && code !== 'ENOTTY' && code !== 'EINVAL' && !(error instanceof TypeError)) throw error
  }
}
