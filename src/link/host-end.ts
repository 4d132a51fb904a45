/** What the node's end of a link stands on: forwarding, source checks, masquerade. */
import { familyOf } from '../address.ts'
import { ifNameToIndex } from '../linux/libc.ts'
import { NetlinkSocket } from '../linux/netlink.ts'
import { sysctlGet, sysctlSet } from '../linux/sysctl.ts'
import { NETLINK_NETFILTER } from '../linux/uapi.ts'
import { addToFirewall, type FirewallEntry, removeFromFirewall } from './firewall.ts'
import { keepRouterAdvertisements } from './forwarding.ts'
import type { Attachment, EndPlan, LinkPlan } from './plan.ts'
import { hostIfname } from './plan.ts'
import { recordList, refuseUnreadable } from './record.ts'
import { allowIPv6, FORWARD_IPV4, FORWARD_IPV6, ignoreRouterAdvertisements, setUnlessSet } from './sysctls.ts'

/** Which families the pod has. */
export function familiesOf({ addresses, routes }: EndPlan): { ipv4: boolean; ipv6: boolean } {
  const far = [...addresses.map(({ peer, local }) => peer ?? local), ...routes.map(({ dst }) => dst)]
  return { ipv4: far.some(address => familyOf(address) === 4), ipv6: far.some(address => familyOf(address) === 6) }
}

/** Before the device is brought up: the node forwards, and the device gets its IPv6 settings. */
export function prepareHostEnd(node: NetlinkSocket, end: EndPlan): void {
  const { ipv4, ipv6 } = familiesOf(end)
  if (ipv4) setUnlessSet(FORWARD_IPV4, '1')
  if (ipv6) {
    if (sysctlGet(FORWARD_IPV6) !== '1') {
      keepRouterAdvertisements(node)
      sysctlSet(FORWARD_IPV6, '1')
    }
    allowIPv6(end.ifname)
  }
  ignoreRouterAdvertisements(end.ifname)
}

/**
 * The link's entry in the node's firewall: it sends from its own addresses only, and these may be
 * masqueraded.
 */
export const firewallEntry = (plan: Attachment & { masquerade: string[] }): FirewallEntry => ({
  link: hostIfname(plan),
  masquerade: plan.masquerade,
})

/**
 * The entries of all links on record, from which the table is restored when somebody has flushed
 * it. Throws CniError 11 when a record cannot be read: a table without its entry would be wrong.
 */
export function firewallEntries(dataDir: string): FirewallEntry[] {
  const { plans, broken } = recordList(dataDir)
  for (const record of broken) refuseUnreadable(record)
  // A link that is about to go has lost its devices first: what was restored of it would stay.
  const isThere = ({ host }: LinkPlan) => host !== undefined && ifNameToIndex(host.ifname) !== 0
  return plans.filter(isThere).map(firewallEntry)
}

export function protectLink(plan: LinkPlan, dataDir: string): void {
  using netfilter = new NetlinkSocket(NETLINK_NETFILTER)
  addToFirewall(netfilter, firewallEntry(plan), () => firewallEntries(dataDir))
}

/**
 * Nothing to do on a kernel without nf_tables, where an ADD that fails is undone by this as well.
 */
export function unprotectLink(entry: FirewallEntry, dataDir: string): void {
  using netfilter = openNetfilter()
  if (netfilter === undefined) return
  removeFromFirewall(netfilter, entry, () => firewallEntries(dataDir).filter(({ link }) => link !== entry.link))
}

function openNetfilter(): NetlinkSocket | undefined {
  try {
    return new NetlinkSocket(NETLINK_NETFILTER)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EPROTONOSUPPORT') return undefined
    throw error
  }
}
