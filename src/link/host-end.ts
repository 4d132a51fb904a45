/** What the node's end of a link depends on: forwarding, source checks, masquerading. */
import { familyOf, parseAddress } from '../address.ts'
import { leaseOf } from '../ipam/lease.ts'
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

/** The families of the pod's addresses. */
export function familiesOf({ addresses, routes }: EndPlan): { ipv4: boolean; ipv6: boolean } {
  const far = [...addresses.map(({ peer, local }) => peer ?? local), ...routes.map(({ dst }) => dst)]
  return { ipv4: far.some(address => familyOf(address) === 4), ipv6: far.some(address => familyOf(address) === 6) }
}

/**
 * Must be called before the device is up: turns the node's forwarding on, and sets the device's
 * IPv6 settings.
 */
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

/** `masquerade` is absent where the record is missing or broken. */
export type Masqueraded = Attachment & Partial<Pick<LinkPlan, 'masquerade'>>

/**
 * The link's entry in the node's firewall: the pod may send from its own addresses only, and these
 * may be masqueraded.
 */
export const firewallEntry = (plan: Attachment & Pick<LinkPlan, 'masquerade'>): FirewallEntry => ({
  link: hostIfname(plan),
  masquerade: plan.masquerade,
})

/**
 * The entries of all links on record, for restoring the table. Throws CniError 11 when a record
 * cannot be read: a table without its entry would be wrong.
 */
export function firewallEntries(dataDir: string): FirewallEntry[] {
  const { plans, broken } = recordList(dataDir)
  for (const record of broken) refuseUnreadable(record)
  return entriesOf(plans, dataDir)
}

function entriesOf(plans: LinkPlan[], dataDir: string): FirewallEntry[] {
  // Called after the devices are deleted: a restoration in between could otherwise bring the entry
  // back.
  const isThere = ({ host }: LinkPlan) => host !== undefined && ifNameToIndex(host.ifname) !== 0
  return plans.filter(isThere).map(plan => ({ link: hostIfname(plan), masquerade: leasedOf(plan, dataDir) ?? plan.masquerade }))
}

export const protectLink = (plan: LinkPlan, dataDir: string): void =>
  withNetfilter(netfilter => addToFirewall(netfilter, firewallEntry(plan), () => firewallEntries(dataDir)))

/**
 * A kernel without nf_tables has nothing to remove: an ADD that fails there is undone by this
 * function, too.
 */
export function unprotectLink(remains: Masqueraded, dataDir: string): void {
  const entry = { link: hostIfname(remains), masquerade: ownMasquerade(remains, dataDir) }
  const others = () => firewallEntries(dataDir).filter(({ link }) => link !== entry.link)
  try {
    withNetfilter(netfilter => removeFromFirewall(netfilter, entry, others))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPROTONOSUPPORT') throw error
  }
}

/**
 * The addresses that may be removed with the link. A record that was edited by hand, or that
 * outlived its lease, may name another pod's.
 */
function ownMasquerade(remains: Masqueraded, dataDir: string): string[] {
  const { network, masquerade } = remains
  if (masquerade === undefined) return leaseOf(dataDir, network, remains) ?? []
  const link = { ...remains, masquerade }
  return leasedOf(link, dataDir) ?? notOfOthers(link, dataDir)
}

/**
 * The link's masqueraded addresses as its lease has them; undefined without a lease, as of another
 * IPAM.
 */
function leasedOf({ masquerade, ...attachment }: Attachment & Pick<LinkPlan, 'masquerade'>, dataDir: string): string[] | undefined {
  if (masquerade.length === 0) return masquerade
  try {
    return leaseOf(dataDir, attachment.network, attachment)
  } catch {
    return undefined // whoever releases the lease reports it
  }
}

/** Reads every record: only links without a lease need it. */
function notOfOthers(link: Attachment & Pick<LinkPlan, 'masquerade'>, dataDir: string): string[] {
  const entries = entriesOf(recordList(dataDir).plans, dataDir).filter(entry => entry.link !== hostIfname(link))
  const taken = new Set(entries.flatMap(entry => entry.masquerade.map(keyOf)))
  return link.masquerade.filter(address => !taken.has(keyOf(address)))
}

/** The same for each way to write an IPv6 address. */
const keyOf = (address: string) => parseAddress(address)!.bytes.toString('hex')

/**
 * Stays open as long as the process, whose network namespace is the node's: closing such a socket
 * waits until the kernel has freed what was deleted (nft_rcv_nl_event), some 10 ms.
 */
let kept: NetlinkSocket | undefined

function withNetfilter(body: (netfilter: NetlinkSocket) => void): void {
  kept ??= new NetlinkSocket(NETLINK_NETFILTER)
  try {
    body(kept)
  } catch (error) {
    kept[Symbol.dispose]() // answers may be waiting in it
    kept = undefined
    throw error
  }
}
