/** Takes a plan out of the kernel. What is missing already counts as removed. */
import { type DoomedLink, deleteAndWait } from '../linux/link-deleter.ts'
import { NetlinkSocket } from '../linux/netlink.ts'
import { inNetns } from '../linux/netns.ts'
import { findDevice, isGone } from './device.ts'
import { removeMasqueradeFor } from './node.ts'
import type { LinkPlan } from './plan.ts'
import { recordRemove } from './record.ts'

/** The record goes last, so that a removal that fails or is killed is found again by the next DEL or GC. */
export async function remove(dataDir: string, plan: LinkPlan, deleteLink = deleteAndWait): Promise<void> {
  const ends = [plan.host && findEnd(plan, plan.host.ifname), unlessGone(() => inNetns(plan.netns, () => findEnd(plan, plan.ifname)))]
  const doomed = ends.filter(end => end !== undefined)
  const results = await Promise.allSettled(doomed.map(deleteLink))
  for (const result of results) if (result.status === 'rejected' && !isGone(result.reason)) throw result.reason
  if (plan.masquerade.length > 0) removeMasqueradeFor(plan)
  recordRemove(dataDir, plan)
}

/** The device if it is in the calling thread's network namespace and ours. */
function findEnd(plan: LinkPlan, ifname: string): DoomedLink | undefined {
  const probe = new NetlinkSocket()
  try {
    const index = findDevice(probe, ifname, plan)
    if (index !== undefined) return { index, probe, netlink: new NetlinkSocket() }
  } catch (error) {
    probe[Symbol.dispose]()
    throw error
  }
  probe[Symbol.dispose]()
  return undefined
}

/** A namespace path that is gone, or is no namespace any more, has no link of ours. */
function unlessGone<T>(body: () => T): T | undefined {
  try {
    return body()
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (!isGone(error) && code !== 'ENOTDIR' && code !== 'ENOTTY' && code !== 'EINVAL' && !(error instanceof TypeError)) throw error
    return undefined
  }
}
