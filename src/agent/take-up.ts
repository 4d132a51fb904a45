/** Opens the devices of a link on record again: they persist while no process has them open. */
import { closeSync } from 'node:fs'
import type { Ends } from '../link/apply.ts'
import type { LinkPlan } from '../link/plan.ts'
import { inNetns } from '../linux/netns.ts'
import { attachTun, setOffloads } from '../linux/tun.ts'

/**
 * The ends that the agent holds: the pod's TUN, and with a thread wire the node's. Throws
 * SyscallError: EBUSY while another process has one of them.
 */
export const takeUp = (plan: LinkPlan): Ends => (plan.wire === 'kernel' ? { podFd: attachPodEnd(plan) } : attachBothEnds(plan))

function attachPodEnd(plan: LinkPlan): number {
  const fd = inNetns(plan.netns, () => attachTun({ name: plan.ifname, vnetHdr: true }))
  try {
    setOffloads(fd)
    return fd
  } catch (error) {
    closeSync(fd)
    throw error
  }
}

/** The devices of a thread wire persist, and so do the TCP connections over them. */
function attachBothEnds(plan: LinkPlan): Ends {
  const hostFd = attachTun({ name: plan.host!.ifname, vnetHdr: true })
  try {
    setOffloads(hostFd)
    return { hostFd, podFd: attachPodEnd(plan) }
  } catch (error) {
    closeSync(hostFd)
    throw error
  }
}
