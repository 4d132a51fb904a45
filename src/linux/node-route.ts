/**
 * Routes between nodes, distinguished from others' routes by a protocol number that the caller
 * gives: see ip-route(8), "protocol RTPROTO".
 */
import { formatAddress, parseAddress, parseCidr } from '../address.ts'
import { attribute, attributes, type NetlinkSocket, u32 } from './netlink.ts'
import * as uapi from './uapi.ts'

/**
 * A route of the main table. Without `index` it is unreachable: packets for its destination are
 * refused.
 */
export interface NodeRoute {
  /** Canonical text, without host bits. */
  dst: string
  gw?: string
  index?: number
  /** The next hop counts as a neighbour, without a route to it ("onlink"). */
  onlink?: boolean
}

/**
 * Equivalent to: ip route add DST via GW dev INDEX [onlink] proto PROTOCOL; ip route add
 * unreachable DST proto PROTOCOL. Throws NetlinkError EEXIST when the route exists.
 */
export function nodeRouteAdd(netlink: NetlinkSocket, route: NodeRoute, protocol: number): void {
  netlink.requestBatch([
    {
      type: uapi.RTM_NEWROUTE,
      flags: uapi.NLM_F_CREATE | uapi.NLM_F_EXCL,
      body: routeBody(route, protocol),
      doing: `add route ${route.dst}`,
    },
  ])
}

/** Equivalent to: ip route delete ... proto PROTOCOL. A missing route is not an error. */
export function nodeRouteDelete(netlink: NetlinkSocket, route: NodeRoute, protocol: number): void {
  try {
    netlink.requestBatch([{ type: uapi.RTM_DELROUTE, flags: 0, body: routeBody(route, protocol), doing: `delete route ${route.dst}` }])
  } catch (error) {
    if (!['ESRCH', 'ENOENT', 'ENODEV'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error
  }
}

function routeBody({ dst, gw, index, onlink }: NodeRoute, protocol: number): Buffer[] {
  const cidr = parseCidr(dst)
  if (cidr === undefined) throw new SyntaxError(`Cannot parse destination "${dst}"`)
  const header = {
    family: cidr.family === 4 ? uapi.AF_INET : uapi.AF_INET6,
    dst_len: cidr.prefix,
    table: uapi.RT_TABLE_MAIN,
    protocol,
    scope: uapi.RT_SCOPE_UNIVERSE,
    type: index === undefined ? uapi.RTN_UNREACHABLE : uapi.RTN_UNICAST,
    flags: onlink ? uapi.RTNH_F_ONLINK : 0,
  }
  const body = [uapi.rtmsg.encode(header), attribute(uapi.RTA_DST, cidr.bytes)]
  if (index !== undefined) body.push(attribute(uapi.RTA_OIF, u32(index)))
  if (gw !== undefined) body.push(attribute(uapi.RTA_GATEWAY, parseAddress(gw)!.bytes))
  return body
}

/**
 * The payloads of RTM_NEWROUTE messages of this protocol, of both families: the same bytes are the
 * same routes.
 */
export function nodeRouteDump(netlink: NetlinkSocket, protocol: number): Buffer[] {
  const header = { table: uapi.RT_TABLE_MAIN, protocol }
  return [uapi.AF_INET, uapi.AF_INET6].flatMap(family =>
    netlink.get(uapi.RTM_GETROUTE, uapi.NLM_F_DUMP, uapi.rtmsg.encode({ ...header, family })),
  )
}

/**
 * Reads the payload of an RTM_NEWROUTE message; undefined when the route is of another protocol
 * than `wanted`.
 */
export function decodeNodeRoute(payload: Buffer, wanted: number): NodeRoute | undefined {
  const { family, dst_len, protocol, type, flags } = uapi.rtmsg.decode(payload)
  if (protocol !== wanted) return undefined
  const found = attributes(payload.subarray(uapi.rtmsg.size))
  const any = Buffer.alloc(family === uapi.AF_INET ? 4 : 16)
  const route: NodeRoute = { dst: `${formatAddress(found.get(uapi.RTA_DST) ?? any)}/${dst_len}` }
  if (type === uapi.RTN_UNREACHABLE) return route // IPv6 lists these with the device lo
  const gw = found.get(uapi.RTA_GATEWAY)
  const index = found.get(uapi.RTA_OIF)
  if (gw !== undefined) route.gw = formatAddress(gw)
  if (index !== undefined) route.index = index.readUInt32LE()
  if (flags & uapi.RTNH_F_ONLINK) route.onlink = true
  return route
}

/**
 * How the node reaches an address. Equivalent to: ip route get ADDRESS. `gw` is absent when the
 * address is on a shared link. undefined when there is no route.
 */
export function nextHop(netlink: NetlinkSocket, address: string): { index: number; gw?: string } | undefined {
  const { family, bytes } = parseAddress(address)!
  const header = { family: family === 4 ? uapi.AF_INET : uapi.AF_INET6, dst_len: bytes.length * 8 }
  try {
    const [reply] = netlink.get(uapi.RTM_GETROUTE, 0, uapi.rtmsg.encode(header), attribute(uapi.RTA_DST, bytes))
    const found = attributes(reply!.subarray(uapi.rtmsg.size))
    const index = found.get(uapi.RTA_OIF)?.readUInt32LE()
    const gw = found.get(uapi.RTA_GATEWAY)
    if (index === undefined || uapi.rtmsg.decode(reply!).type === uapi.RTN_UNREACHABLE) return undefined
    return gw === undefined ? { index } : { index, gw: formatAddress(gw) }
  } catch (error) {
    if (!['ENETUNREACH', 'EHOSTUNREACH', 'EACCES', 'EINVAL'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error
    return undefined
  }
}

/**
 * The index of the device that holds `address`; undefined when none does. Equivalent to: ip address
 * show to ADDRESS.
 */
export function indexOfAddress(netlink: NetlinkSocket, address: string): number | undefined {
  const { family, bytes } = parseAddress(address)!
  const header = uapi.ifaddrmsg.encode({ family: family === 4 ? uapi.AF_INET : uapi.AF_INET6 })
  for (const payload of netlink.get(uapi.RTM_GETADDR, uapi.NLM_F_DUMP, header)) {
    const found = attributes(payload.subarray(uapi.ifaddrmsg.size))
    const local = found.get(uapi.IFA_LOCAL) ?? found.get(uapi.IFA_ADDRESS)
    if (local?.equals(bytes)) return uapi.ifaddrmsg.decode(payload).index
  }
  return undefined
}
