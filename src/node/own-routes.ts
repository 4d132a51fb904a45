/**
 * Our routes between nodes: those of one protocol number. A route with another number is never
 * changed or deleted.
 */
import type { NetlinkSocket } from '../linux/netlink.ts'
import * as route from '../linux/node-route.ts'

/**
 * "tunlink" in /etc/iproute2/rt_protos, where an operator names it: `77 tunlink`. Free in the
 * kernel's and iproute2's lists.
 */
export const RTPROT_TUNLINK = 77

/**
 * Equivalent to: ip route add ... proto 77. Throws NetlinkError EEXIST when a route to the same
 * destination exists, of whatever protocol.
 */
export const nodeRouteAdd = (netlink: NetlinkSocket, wanted: route.NodeRoute) => route.nodeRouteAdd(netlink, wanted, RTPROT_TUNLINK)

/** Equivalent to: ip route delete ... proto 77. A missing route is not an error. */
export const nodeRouteDelete = (netlink: NetlinkSocket, present: route.NodeRoute) => route.nodeRouteDelete(netlink, present, RTPROT_TUNLINK)

/** The payloads of the routes: the same bytes are the same routes. */
export const nodeRouteDump = (netlink: NetlinkSocket) => route.nodeRouteDump(netlink, RTPROT_TUNLINK)

/** The routes of nodeRouteDump(). */
export const decodeOwnRoutes = (dump: Buffer[]): route.NodeRoute[] =>
  dump.map(payload => route.decodeNodeRoute(payload, RTPROT_TUNLINK)).filter(found => found !== undefined)

/** Equivalent to: ip route show table main proto 77, of both families. */
export const nodeRouteList = (netlink: NetlinkSocket) => decodeOwnRoutes(nodeRouteDump(netlink))
