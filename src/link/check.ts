/**
 * CHECK: everything that the plan says must still be in the kernel, and everything that the link
 * depends on. Each fault is a sentence.
 */
import { bits, canonicalCidr, familyOf } from '../address.ts'
import { type Address, addressList } from '../linux/address-messages.ts'
import { type Link, linkFind } from '../linux/link.ts'
import { NetlinkSocket } from '../linux/netlink.ts'
import { Netns, sameNetns } from '../linux/netns.ts'
import { asKept, type Route, routeList } from '../linux/route.ts'
import { sysctlGet } from '../linux/sysctl.ts'
import { type Shape, tbfRate } from '../linux/token-bucket.ts'
import { IFF_NOARP, IFF_POINTOPOINT, IFF_UP, NETLINK_NETFILTER } from '../linux/uapi.ts'
import { podFaults, vethFaults } from '../wire/kernel.ts'
import { NODE_MAC } from '../wire/programs.ts'
import { linkAlias } from './device.ts'
import { firewallFaults } from './firewall.ts'
import { familiesOf, firewallEntry } from './host-end.ts'
import type { EndPlan, LinkPlan } from './plan.ts'

/**
 * Changes that CHECK allows: later plugins of the chain may make them, and so may a meta-plugin:
 * Multus moves a pod's default route, in the kernel and in the result.
 */
export interface Expected {
  /** The MTU of the previous result. */
  mtu: number | undefined
  /** Of its routes: a default route that is not among them may be missing. undefined: none may. */
  destinations: string[] | undefined
}

/**
 * The faults found; an empty list when there is none. NO-CARRIER is not a fault: a link whose TUN
 * no process holds open shows it, and carries packets.
 */
export function check(plan: LinkPlan, expected: Expected): string[] {
  using netns = new Netns(plan.netns)
  if (plan.netnsId !== undefined && !sameNetns(netns.id, plan.netnsId))
    return [`${plan.netns} is another network namespace than the one that ADD was given`]
  const faults = netns.enter(() => checkPod(plan, expected))
  if (plan.host !== undefined) faults.push(...checkHost(plan, plan.host))
  return faults
}

function checkPod(plan: LinkPlan, expected: Expected): string[] {
  using netlink = new NetlinkSocket()
  const link = linkFind(netlink, plan.ifname)
  if (link === undefined) return [`link ${plan.ifname} is missing`]
  const faults = [...tunFaults(link, plan), ...flagFaults(link), ...aliasFaults(link, plan, `link ${link.name}`)]
  const mtu = expected.mtu ?? plan.mtu
  if (link.mtu !== mtu) faults.push(`link ${link.name} has mtu ${link.mtu}, not ${mtu}`)
  const destinations = expected.destinations?.map(canonicalCidr)
  const routes = plan.pod.routes.filter(({ dst }) => !dst.endsWith('/0') || (destinations?.includes(canonicalCidr(dst)) ?? true))
  faults.push(...addressFaults(netlink, link, plan.pod), ...routeFaults(netlink, link, { ...plan.pod, routes }))
  if (plan.wire === 'kernel') faults.push(...podFaults(netlink, link, plan.host!.ifname, link.mtu))
  const sender = plan.wire === 'kernel' ? linkFind(netlink, plan.host!.ifname) : link
  return [...faults, ...shapeFaults(netlink, sender, plan.fromPod, 'sends')]
}

function checkHost(plan: LinkPlan, end: EndPlan): string[] {
  using netlink = new NetlinkSocket()
  const link = linkFind(netlink, end.ifname)
  if (link === undefined) return [`the node's end ${end.ifname} is missing`]
  const faults =
    plan.wire === 'kernel'
      ? vethFaults(link, NODE_MAC, plan.mtu, `the node's end ${end.ifname}`)
      : [...tunFaults(link, plan), ...flagFaults(link)]
  faults.push(
    ...aliasFaults(link, plan, `the node's end ${end.ifname}`),
    ...addressFaults(netlink, link, end),
    ...routeFaults(netlink, link, end),
    ...forwardingFaults(end),
    ...shapeFaults(netlink, link, plan.toPod, 'receives'),
  )
  using netfilter = new NetlinkSocket(NETLINK_NETFILTER)
  return [...faults, ...firewallFaults(netfilter, firewallEntry(plan))]
}

/** `does`: what the pod does (sends or receives) at the rate of `link`'s root qdisc. */
function shapeFaults(netlink: NetlinkSocket, link: Link | undefined, shape: Shape | undefined, does: string): string[] {
  if (shape === undefined || link === undefined) return []
  const rate = tbfRate(netlink, link.index)
  if (rate === shape.rate) return []
  const found = rate === undefined ? 'as fast as it can' : `${rate} bytes per second`
  return [`the pod ${does} ${found}, not ${shape.rate} bytes per second: qdisc tbf of ${link.name} is missing or changed`]
}

function tunFaults(link: Link, plan: LinkPlan): string[] {
  if (link.kind !== 'tun' || link.tun?.type !== 1) return [`link ${link.name} is not a TUN device`]
  const faults: string[] = []
  if (!link.tun.persist) faults.push(`link ${link.name} is not persistent any more`)
  if (link.tun.multiQueue !== plan.multiQueue)
    faults.push(`link ${link.name} has multiQueue ${link.tun.multiQueue}, not ${plan.multiQueue}`)
  if (link.tun.owner !== plan.owner) faults.push(`link ${link.name} has owner ${link.tun.owner ?? 'none'}, not ${plan.owner ?? 'none'}`)
  if (link.tun.group !== plan.group) faults.push(`link ${link.name} has group ${link.tun.group ?? 'none'}, not ${plan.group ?? 'none'}`)
  return faults
}

function flagFaults(link: Link): string[] {
  const wanted: [number, string][] = [
    [IFF_UP, 'UP'],
    [IFF_NOARP, 'NOARP'],
    [IFF_POINTOPOINT, 'POINTOPOINT'],
  ]
  return wanted.filter(([flag]) => (link.flags & flag) === 0).map(([, name]) => `link ${link.name} lacks the flag ${name}`)
}

/** DEL knows the device by its alias, and would leave a device without it. */
const aliasFaults = (link: Link, plan: LinkPlan, which: string): string[] =>
  link.alias === linkAlias(plan)
    ? []
    : [`${which} has the alias ${JSON.stringify(link.alias ?? '')}, not ${JSON.stringify(linkAlias(plan))}`]

const describe = ({ local, peer, prefix }: Address) => `${local}${peer === undefined ? '' : ` peer ${peer}`}/${prefix}`

function addressFaults(netlink: NetlinkSocket, link: Link, end: EndPlan): string[] {
  const present = addressList(netlink, link.index).map(describe)
  return end.addresses
    .map(describe)
    .filter(wanted => !present.includes(wanted))
    .map(wanted => `link ${link.name} lacks the address ${wanted}`)
}

/** The plan's routes, and those that the kernel makes itself for a peer or a subnet. */
function routeFaults(netlink: NetlinkSocket, link: Link, end: EndPlan): string[] {
  const present = routeList(netlink, link.index)
  const wanted = [...end.addresses.flatMap(kernelRoute), ...end.routes]
  return wanted
    .filter(route => !present.some(candidate => sameRoute(candidate, route)))
    .map(({ dst, gw }) => `route ${dst}${gw === undefined ? '' : ` via ${gw}`} dev ${link.name} is missing`)
}

/**
 * The route that `ip address add` makes with the address: to the peer, or to the subnet. None for a
 * single address without peer.
 */
function kernelRoute({ local, peer, prefix }: Address): Route[] {
  const isSingle = peer === undefined && prefix === bits(familyOf(local))
  return isSingle ? [] : [{ dst: canonicalCidr(`${peer ?? local}/${prefix}`)! }]
}

/** Only what the plan names is compared. */
function sameRoute(present: Route, wanted: Route): boolean {
  const keys = ['gw', 'mtu', 'advmss', 'priority', 'table'] as const
  const asked = asKept(wanted)
  if (asked.dst !== present.dst) return false
  return keys.every(key => asked[key] === undefined || present[key] === asked[key])
}

/**
 * Without forwarding the pod reaches nothing beyond the node; rp_filter 0 means that somebody has
 * switched off IPv4's first source check.
 */
function forwardingFaults(end: EndPlan): string[] {
  const { ipv4, ipv6 } = familiesOf(end)
  const faults: string[] = []
  const expectOn = (...key: string[]) => {
    const value = sysctlGet(key)
    if (value !== undefined && value !== '1') faults.push(`sysctl ${key.join('.')} is ${value}: the node does not forward for this link`)
  }
  if (ipv4) {
    expectOn('net', 'ipv4', 'ip_forward')
    expectOn('net', 'ipv4', 'conf', end.ifname, 'forwarding')
    const filter = sysctlGet(['net', 'ipv4', 'conf', end.ifname, 'rp_filter'])
    if (filter === '0') faults.push(`sysctl net.ipv4.conf.${end.ifname}.rp_filter is 0: the source check of this link is weakened`)
  }
  if (ipv6) {
    expectOn('net', 'ipv6', 'conf', 'all', 'forwarding')
    expectOn('net', 'ipv6', 'conf', end.ifname, 'forwarding')
    const accept = sysctlGet(['net', 'ipv6', 'conf', end.ifname, 'accept_ra'])
    // with 1 the device takes advertisements only where it does not forward, which is a fault of
    // its own
    if (accept === '2') faults.push(`sysctl net.ipv6.conf.${end.ifname}.accept_ra is 2: the pod can give the node routes`)
  }
  return faults
}
