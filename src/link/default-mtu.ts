import { linkMtu } from '../linux/link.ts'
import type { NetlinkSocket } from '../linux/netlink.ts'
import { defaultRouteIndex } from '../linux/route.ts'

/** MTU in bytes of the device that the node's default route leaves by; 1500 when there is no such route. */
export function defaultRouteMtu(node: NetlinkSocket): number {
  const route = defaultRouteIndex(node)
  return route === undefined ? 1500 : Math.min(linkMtu(node, route.index), 65535)
}
