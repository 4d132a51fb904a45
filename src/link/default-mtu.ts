import { linkMtu } from '../linux/link.ts'
import type { NetlinkSocket } from '../linux/netlink.ts'
import { defaultRouteIndexes } from '../linux/route.ts'

/** MTU in bytes of the device that the node's default route leaves by, the least of them where there are several; 1500 when there is no such route. */
export function defaultRouteMtu(node: NetlinkSocket): number {
  const indexes = defaultRouteIndexes(node)
  return indexes.length === 0 ? 1500 : Math.min(...indexes.map(index => linkMtu(node, index)), 65535)
}
