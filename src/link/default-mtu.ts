import { linkMtu } from '../linux/link.ts'
import type { NetlinkSocket } from '../linux/netlink.ts'
import { defaultRouteIndexes } from '../linux/route.ts'

const ETHERNET_MTU = 1500
/**
 * The largest MTU that every wire carries. A default route by lo (65536) says nothing about a
 * network.
 */
const MOST = 16_000

/**
 * MTU in bytes of the device of the node's default route; the least when there are several; 1500
 * when there is none.
 */
export function defaultRouteMtu(node: NetlinkSocket): number {
  const indexes = defaultRouteIndexes(node)
  return indexes.length === 0 ? ETHERNET_MTU : Math.min(...indexes.map(index => linkMtu(node, index)), MOST)
}
