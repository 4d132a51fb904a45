/** CHECK: what the plan says must still be in the kernel. */

import { addressList } from '../linux/address-messages.ts'
import { type Link, linkGet } from '../linux/link.ts'
import { NetlinkSocket } from '../linux/netlink.ts'
import { inNetns } from '../linux/netns.ts'
import { type Route, routeList } from '../linux/route.ts'
import { IFF_NOARP, IFF_POINTOPOINT, IFF_UP } from '../linux/uapi.ts'
import type { EndPlan, LinkPlan } from './plan.ts'

/**
 * Faults found, each a sentence; empty when all is well. `expectedMtu` is that of the previous result, which a chained plugin may
 * have changed. NO-CARRIER is no fault: it is how a link without a process at its far end looks.
 */
export function check(plan: LinkPlan, expectedMtu: number | undefined): string[] {
  const faults = inNetns(plan.netns, () => checkEnd(plan, plan.pod, expectedMtu))
  if (plan.host !== undefined) faults.push(...checkEnd(plan, plan.host, undefined))
  return faults
}

function checkEnd(plan: LinkPlan, end: EndPlan, expectedMtu: number | undefined): string[] {
  const netlink = new NetlinkSocket()
  try {
    const link = linkGet(netlink, end.ifname)
    return [...linkFaults(link, plan, expectedMtu), ...addressFaults(netlink, link, end), ...routeFaults(netlink, link, end)]
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENODEV') return [`link ${end.ifname} is missing`]
    throw error
  } finally {
    netlink[Symbol.dispose]()
  }
}

function linkFaults(link: Link, plan: LinkPlan, expectedMtu: number | undefined): string[] {
  if (link.kind !== 'tun' || link.tun?.type !== 1) return [`link ${link.name} is not a TUN device`]
  const faults: string[] = []
  for (const [flag, name] of [
    [IFF_UP, 'UP'],
    [IFF_POINTOPOINT, 'POINTOPOINT'],
    [IFF_NOARP, 'NOARP'],
  ] as const) {
    if ((link.flags & flag) === 0) faults.push(`link ${link.name} lacks the flag ${name}`)
  }
  if (expectedMtu !== undefined && link.mtu !== expectedMtu) faults.push(`link ${link.name} has mtu ${link.mtu}, not ${expectedMtu}`)
  if (!link.tun.persist) faults.push(`link ${link.name} is not persistent any more`)
  if (link.tun.multiQueue !== plan.multiQueue)
    faults.push(`link ${link.name} has multiQueue ${link.tun.multiQueue}, not ${plan.multiQueue}`)
  if (link.tun.owner !== plan.owner) faults.push(`link ${link.name} has owner ${link.tun.owner ?? 'none'}, not ${plan.owner ?? 'none'}`)
  if (link.tun.group !== plan.group) faults.push(`link ${link.name} has group ${link.tun.group ?? 'none'}, not ${plan.group ?? 'none'}`)
  return faults
}

function addressFaults(netlink: NetlinkSocket, link: Link, end: EndPlan): string[] {
  const present = addressList(netlink, link.index)
  return end.addresses
    .filter(
      wanted =>
        !present.some(
          address =>
            address.local === wanted.local &&
            (address.peer ?? address.local) === (wanted.peer ?? wanted.local) &&
            address.prefix === wanted.prefix,
        ),
    )
    .map(
      wanted =>
        `link ${link.name} lacks the address ${wanted.local}${wanted.peer === undefined ? '' : ` peer ${wanted.peer}`}/${wanted.prefix}`,
    )
}

function routeFaults(netlink: NetlinkSocket, link: Link, end: EndPlan): string[] {
  const present = routeList(netlink, link.index)
  return end.routes
    .filter(wanted => !present.some(route => sameRoute(route, wanted)))
    .map(wanted => `route ${wanted.dst}${wanted.gw === undefined ? '' : ` via ${wanted.gw}`} dev ${link.name} is missing`)
}

/** Whatever the plan leaves open is the kernel's to choose. */
function sameRoute(present: Route, wanted: Route): boolean {
  const keys = ['dst', 'gw', 'mtu', 'advmss', 'priority', 'table'] as const
  return keys.every(
    key =>
      wanted[key] === undefined || present[key] === wanted[key] || (key === 'table' && wanted.table === 254 && present.table === undefined),
  )
}
