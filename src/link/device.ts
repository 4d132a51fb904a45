/** One TUN device of a link: made, configured, looked at, in the network namespace that the caller has entered or holds sockets of. */
import { closeSync, existsSync } from 'node:fs'
import { addressAddition } from '../linux/address-messages.ts'
import { ifNameToIndex } from '../linux/libc.ts'
import { type Link, linkChange, linkDelete, linkGet } from '../linux/link.ts'
import type { NetlinkSocket } from '../linux/netlink.ts'
import { ecmpAddition, type Route, routeAddition } from '../linux/route.ts'
import { sysctlSet } from '../linux/sysctl.ts'
import { createTun, setOffloads } from '../linux/tun.ts'
import type { Attachment, EndPlan, LinkPlan } from './plan.ts'

/** What `ip link` shows of a device of ours, and how a clean-up knows that a device is ours. */
export const linkAlias = ({ network, containerID, ifname }: Attachment) =>
  Buffer.from(`tunlink:${network}/${containerID}/${ifname}`).toString('utf8', 0, LONGEST_ALIAS)

/** Bytes: IFALIASZ of <linux/if.h> is 256, and the kernel wants two less. */
const LONGEST_ALIAS = 254

export interface Device {
  fd: number
  index: number
}

/** Makes the device in the calling thread's network namespace. It persists until removeDevice(). */
export function createDevice(plan: LinkPlan, end: EndPlan): Device {
  const { fd } = createTun({
    name: end.ifname,
    owner: plan.owner,
    group: plan.group,
    multiQueue: plan.multiQueue,
    persist: true,
    vnetHdr: plan.farEnd === 'host',
  })
  try {
    if (plan.farEnd === 'host') setOffloads(fd)
    return { fd, index: ifNameToIndex(end.ifname) }
  } catch (error) {
    closeSync(fd)
    throw error
  }
}

/**
 * Gives the device MTU, addresses and routes, in the only order that keeps all of them: MTU before IPv6 addresses (the kernel drops
 * those below 1280), up before addresses (an IPv6 peer route added to a device that is down is lost).
 */
export function configureDevice(netlink: NetlinkSocket, index: number, plan: LinkPlan, end: EndPlan): void {
  configureIPv6(end)
  const link = {
    mtu: plan.mtu,
    txQLen: plan.txQLen,
    alias: linkAlias(plan),
    rpFilter: end === plan.host ? 1 : undefined, // a pod sends from its own addresses only: see guardHostEnd()
    addrGenMode: hasIPv6() && (plan.mtu ?? 1500) >= IPV6_MIN_MTU ? ADDR_GEN_MODE_NONE : undefined,
  }
  netlink.requestBatch([
    linkChange(index, link),
    linkChange(index, { up: true }), // in a message of its own: of one message the kernel does this first
    ...end.addresses.map(address => addressAddition(index, address)),
    ...groupByDestination(end.routes).map(routes => (routes.length === 1 ? routeAddition(index, routes[0]!) : ecmpAddition(index, routes))),
  ])
}

const ADDR_GEN_MODE_NONE = 1
const IPV6_MIN_MTU = 1280 // with less, the kernel takes IPv6 from the device
let ipv6: boolean | undefined
const hasIPv6 = () => (ipv6 ??= existsSync('/proc/sys/net/ipv6'))

/** Addresses that outlive a link set down, even where IPv6 is off by default. Both keys must be set before. */
function configureIPv6(end: EndPlan): void {
  const key = (name: string) => ['net', 'ipv6', 'conf', end.ifname, name]
  if (!end.addresses.some(address => address.local.includes(':'))) return
  sysctlSet(key('disable_ipv6'), '0')
  sysctlSet(key('keep_addr_on_down'), '1')
}

/** A destination named more than once, with the same priority and table, is one route with several next hops. */
function groupByDestination(routes: Route[]): Route[][] {
  const groups = new Map<string, Route[]>()
  for (const route of routes) {
    const key = `${route.dst} ${route.priority ?? ''} ${route.table ?? ''}`
    groups.set(key, [...(groups.get(key) ?? []), route])
  }
  return [...groups.values()]
}

/** Removes the device `ifname` if it is there and ours, and waits until the kernel has forgotten it; true when it was. */
export function removeDevice(netlink: NetlinkSocket, ifname: string, attachment: Attachment): boolean {
  const index = findDevice(netlink, ifname, attachment)
  if (index === undefined) return false
  try {
    linkDelete(netlink, index)
  } catch (error) {
    if (!isGone(error)) throw error
  }
  return true
}

/** The index of the device `ifname` if it is there and ours; both the calling thread and the socket are in its network namespace. */
export function findDevice(netlink: NetlinkSocket, ifname: string, attachment: Attachment): number | undefined {
  if (ifNameToIndex(ifname) === 0) return undefined
  let link: Link
  try {
    link = linkGet(netlink, ifname)
  } catch (error) {
    if (isGone(error)) return undefined
    throw error
  }
  const ours = link.kind === 'tun' && (link.alias === undefined || link.alias === linkAlias(attachment))
  return ours ? link.index : undefined
}

export const isGone = (error: unknown) => ['ENODEV', 'ENOENT', 'ENXIO'].includes((error as NodeJS.ErrnoException).code ?? '')
