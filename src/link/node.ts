/** What the node needs for its ends of links: forwarding, source checks, masquerade. */

import { NetlinkSocket } from '../linux/netlink.ts'
import { addMasquerade, deleteMasquerade, ensureTable } from '../linux/nftables.ts'
import { sysctlGet, sysctlSet } from '../linux/sysctl.ts'
import { NETLINK_NETFILTER } from '../linux/uapi.ts'
import type { EndPlan, LinkPlan } from './plan.ts'

const families = (end: EndPlan) => {
  const locals = [...end.addresses.map(address => address.peer ?? address.local), ...end.routes.map(route => route.dst)]
  return { ipv4: locals.some(local => !local.includes(':')), ipv6: locals.some(local => local.includes(':')) }
}

/** sysctl net.ipv4.ip_forward=1 and its IPv6 counterpart, when the link has that family. */
export function enableForwarding(end: EndPlan): void {
  const { ipv4, ipv6 } = families(end)
  if (ipv4) setUnlessSet(['net', 'ipv4', 'ip_forward'], '1')
  if (ipv6) setUnlessSet(['net', 'ipv6', 'conf', 'all', 'forwarding'], '1')
}

/**
 * A pod sends from its own addresses only. IPv4: the node's end has one route, to the pod, and strict rp_filter drops what comes
 * from elsewhere (configureDevice() sets it). IPv6 has no rp_filter: an nftables rule asks the same question of the same routes.
 */
export function guardHostEnd(end: EndPlan): void {
  if (families(end).ipv6) withNetfilter(ensureTable)
}

export function addMasqueradeFor(plan: LinkPlan): void {
  withNetfilter(netfilter => {
    ensureTable(netfilter)
    addMasquerade(netfilter, plan.masquerade)
  })
}

export function removeMasqueradeFor(plan: LinkPlan): void {
  withNetfilter(netfilter => deleteMasquerade(netfilter, plan.masquerade))
}

function withNetfilter(body: (netfilter: NetlinkSocket) => void): void {
  const netfilter = new NetlinkSocket(NETLINK_NETFILTER)
  try {
    body(netfilter)
  } finally {
    netfilter[Symbol.dispose]()
  }
}

/** Writing "1" over "1" still costs: for all/forwarding the kernel walks every device. */
function setUnlessSet(key: string[], value: string): void {
  if (sysctlGet(key) !== value) sysctlSet(key, value)
}
