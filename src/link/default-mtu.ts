import { linkMtu } from '../linux/link.ts'
import type { NetlinkSocket } from '../linux/netlink.ts'
import { defaultRouteIndex } from '../linux/route.ts'

const ETHERNET_MTU = 1500
/** What every wire carries: a default route by lo (65536) says nothing of a network. */
const MOST = 16_000

/** MTU in bytes of the device that the node's default route leaves by; 1500 when there is no such route. */
export function defaultRouteMtu(node: NetlinkSocket): number {
  const route = defaultRouteIndex(node)
  return route === undefined ? ETHERNET_MTU : Math.min(linkMtu(node, route.index), MOST)
}
