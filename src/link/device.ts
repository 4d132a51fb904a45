/** One device of a link: how it is configured, and how it is recognised. */
import { statSync } from 'node:fs'
import { fnv1a } from '../fnv.ts'
import { addressAddition } from '../linux/address-messages.ts'
import { ifNameToIndex } from '../linux/libc.ts'
import { ADDR_GEN_MODE_NONE, type Link, linkChange, linkFind } from '../linux/link.ts'
import type { NetlinkSocket, Request } from '../linux/netlink.ts'
import { asKept, ecmpAddition, type Route, routeAddition } from '../linux/route.ts'
import { RT_TABLE_MAIN } from '../linux/uapi.ts'
import { isNodeEnd } from '../wire/kernel.ts'
import type { Attachment, EndPlan, LinkPlan } from './plan.ts'
import { IPV6_MIN_MTU } from './plan.ts'

/** Bytes: IFALIASZ of <linux/if.h> is 256, and the kernel wants two less. */
const LONGEST_ALIAS = 254

/** The alias of our devices, shown by `ip link`: by it a clean-up recognises them. */
export function linkAlias({ network, containerID, ifname }: Attachment): string {
  const alias = `tunlink:${network}/${containerID}/${ifname}`
  return Buffer.byteLength(alias) <= LONGEST_ALIAS ? alias : `tunlink:~${fnv1a(alias)}`
}

const kernelHasIPv6 = statSync('/proc/sys/net/ipv6', { throwIfNoEntry: false }) !== undefined

/** True when this kernel has IPv6, and a device of this MTU too. */
export const hasIPv6 = (mtu: number): boolean => mtu >= IPV6_MIN_MTU && kernelHasIPv6

/**
 * MTU and name tag of a device that is still down: the kernel drops IPv6 addresses below an MTU of
 * 1280, so the MTU comes first.
 */
export const deviceSettings = (plan: LinkPlan) => ({
  mtu: plan.mtu,
  txQLen: plan.txQLen,
  alias: linkAlias(plan),
  addrGenMode: hasIPv6(plan.mtu) ? ADDR_GEN_MODE_NONE : undefined,
})

/**
 * First up, then addresses, then routes: the kernel drops an IPv6 peer route that is added while
 * the device is down.
 */
export const endRequests = (index: number, end: EndPlan): Request[] => [
  linkChange(index, { up: true }),
  ...end.addresses.map(address => addressAddition(index, address)),
  ...groupByDestination(end.routes).map(routes => (routes.length === 1 ? routeAddition(index, routes[0]!) : ecmpAddition(index, routes))),
]

/**
 * A destination named more than once, with the same priority and table, is one route with several
 * next hops. A next hop named twice is one.
 */
function groupByDestination(routes: Route[]): Route[][] {
  const groups = new Map<string, Route[]>()
  for (const route of routes) {
    const { dst, priority, table = RT_TABLE_MAIN } = asKept(route)
    const key = `${dst} ${priority ?? ''} ${table}`
    const group = groups.get(key) ?? []
    if (!group.some(({ gw }) => gw === route.gw)) groups.set(key, [...group, route])
  }
  return [...groups.values()]
}

/**
 * The index of the device `ifname` if it exists and is ours; the calling thread and the socket must
 * be in its network namespace. A device without our alias is somebody else's, except for the node's
 * end of a kernel wire whose maker was killed before it set the alias.
 */
export function findDevice(netlink: NetlinkSocket, ifname: string, attachment: Attachment): number | undefined {
  if (ifNameToIndex(ifname) === 0) return undefined
  const link = linkFind(netlink, ifname)
  return link !== undefined && isOurs(link, attachment) ? link.index : undefined
}

function isOurs(link: Link, attachment: Attachment): boolean {
  if (link.alias === undefined) return isNodeEnd(link)
  return (link.kind === 'tun' || link.kind === 'veth') && link.alias === linkAlias(attachment)
}

/** True when the kernel says that the device does not exist. */
export const isGone = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === 'ENODEV'
