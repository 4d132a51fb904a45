/** One TUN device of a link: made, configured, looked at, in the network namespace that the caller has entered or holds sockets of. */
import { closeSync } from 'node:fs'
import type { NetlinkSocket } from '../linux/netlink.ts'
import { addressAdd, type Link, linkDelete, linkGet, linkSet, type Route, routeAdd, routeAddEcmp } from '../linux/rtnetlink.ts'
import { sysctlGet, sysctlSet } from '../linux/sysctl.ts'
import { createTun, setOffloads } from '../linux/tun.ts'
import type { Attachment, EndPlan, LinkPlan } from './plan.ts'

/** What `ip link` shows of a device of ours, and how a clean-up knows that a device is ours. */
export const linkAlias = ({ network, containerID, ifname }: Attachment) => `tunlink:${network}/${containerID}/${ifname}`.slice(0, 255)

export interface Device {
  fd: number
  index: number
}

/** Makes the device in the calling thread's network namespace. It persists until removeDevice(). */
export function createDevice(netlink: NetlinkSocket, plan: LinkPlan, end: EndPlan): Device {
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
    return { fd, index: linkGet(netlink, end.ifname).index }
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
  linkSet(netlink, index, { mtu: plan.mtu, txQLen: plan.txQLen, alias: linkAlias(plan), up: true })
  for (const address of end.addresses) addressAdd(netlink, index, address)
  for (const sameDestination of groupByDestination(end.routes)) {
    if (sameDestination.length === 1) routeAdd(netlink, index, sameDestination[0]!)
    else routeAddEcmp(netlink, index, sameDestination)
  }
}

/** No link-local address of the kernel's own making, and addresses that outlive a link set down. A kernel without IPv6 has no such keys. */
function configureIPv6(end: EndPlan): void {
  const key = (name: string) => ['net', 'ipv6', 'conf', end.ifname, name]
  if (sysctlGet(key('addr_gen_mode')) !== undefined) sysctlSet(key('addr_gen_mode'), '1')
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

/** The index of the device `ifname` if it is there and ours. */
export function findDevice(netlink: NetlinkSocket, ifname: string, attachment: Attachment): number | undefined {
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
