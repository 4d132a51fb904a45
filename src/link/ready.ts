/**
 * Waits until the kernel sends by the devices of a new link. A device without a carrier has a queue
 * that drops all. When its other end comes up, or a process opens the TUN, a worker of the kernel
 * gives it another one (linkwatch_do_dev() in net/core/link_watch.c): mostly at once, but later on
 * a busy node. From Linux 6.9 on the question makes the kernel do it.
 */
import { type Link, linkFind } from '../linux/link.ts'
import { NetlinkSocket } from '../linux/netlink.ts'
import type { Netns } from '../linux/netns.ts'
import { IF_OPER_UNKNOWN, IF_OPER_UP } from '../linux/uapi.ts'
import type { LinkPlan } from './plan.ts'

/** A kernel that has not done it by then is not waited for: it will. */
const MOST_MS = 1_000
const LOOK_AGAIN_MS = 1

/**
 * The devices that had no carrier when they were made: the pod's end of the veth pair, which comes
 * up before the node's; the TUNs of a thread wire, where another process has made them. `netns` is
 * the pod's namespace.
 */
export async function untilReady(plan: LinkPlan, netns: Netns): Promise<void> {
  if (plan.host === undefined) return // it has a carrier while a process is attached
  using pod = netns.enter(() => new NetlinkSocket())
  await untilSends(pod, plan.wire === 'kernel' ? plan.host.ifname : plan.ifname)
  if (plan.wire === 'kernel') return
  using node = new NetlinkSocket()
  await untilSends(node, plan.host.ifname)
}

async function untilSends(netlink: NetlinkSocket, ifname: string): Promise<void> {
  const until = performance.now() + MOST_MS
  for (let link = linkFind(netlink, ifname); link !== undefined && !sends(link); link = linkFind(netlink, ifname)) {
    if (performance.now() > until) return
    await new Promise(resolve => setTimeout(resolve, LOOK_AGAIN_MS))
  }
}

/** A TUN that has never lost its carrier has an unknown state. */
const sends = ({ kind, operState }: Link): boolean => operState === IF_OPER_UP || (kind === 'tun' && operState === IF_OPER_UNKNOWN)
