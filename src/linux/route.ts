/** `ip route`: see rtnetlink(7), "RTM_NEWROUTE". */
import { canonicalCidr, familyOf, formatAddress, parseCidr, withoutHostBits } from '../address.ts'
import { attribute, attributes, inet, type NetlinkSocket, nested, type Request, u32 } from './netlink.ts'
import * as uapi from './uapi.ts'

/** A route; `dst` in CIDR notation, `mtu` and `advmss` in bytes. */
export interface Route {
  dst: string
  gw?: string
  mtu?: number
  advmss?: number
  priority?: number
  table?: number
  scope?: number
  onlink?: boolean
}

const CREATE = uapi.NLM_F_CREATE | uapi.NLM_F_EXCL
const ROUTE_HEADER = { protocol: uapi.RTPROT_STATIC, type: uapi.RTN_UNICAST }

/**
 * Equivalent to: ip route add DST [via GW] dev INDEX [onlink] [metric PRIORITY] [table TABLE] [mtu
 * MTU] [advmss ADVMSS] [scope SCOPE]
 */
export function routeAddition(index: number, route: Route): Request {
  const body = [...routeBody(route, route.onlink ? uapi.RTNH_F_ONLINK : 0), attribute(uapi.RTA_OIF, u32(index))]
  if (route.gw !== undefined) body.push(attribute(uapi.RTA_GATEWAY, inet(route.gw).bytes))
  const doing = `add route ${route.dst}${route.gw === undefined ? '' : ` via ${route.gw}`}`
  return { type: uapi.RTM_NEWROUTE, flags: CREATE, body, doing }
}

/**
 * Equivalent to: ip route add DST nexthop via GW1 dev INDEX nexthop via GW2 dev INDEX ... The first
 * route has everything but the other next hops.
 */
export function ecmpAddition(index: number, routes: Route[]): Request {
  const first = routes[0]!
  const hops = routes.map(({ gw, onlink }) => {
    const gateway = gw === undefined ? Buffer.alloc(0) : attribute(uapi.RTA_GATEWAY, inet(gw).bytes)
    return Buffer.concat([
      uapi.rtnexthop.encode({ len: uapi.rtnexthop.size + gateway.length, flags: onlink ? uapi.RTNH_F_ONLINK : 0, ifindex: index }),
      gateway,
    ])
  })
  const body = [...routeBody(first, 0), attribute(uapi.RTA_MULTIPATH, Buffer.concat(hops))]
  return { type: uapi.RTM_NEWROUTE, flags: CREATE, body, doing: `add route ${first.dst} via ${routes.map(({ gw }) => gw).join(' and ')}` }
}

function routeBody(route: Route, flags: number): Buffer[] {
  const cidr = parseCidr(route.dst)
  if (cidr === undefined) throw new SyntaxError(`Cannot parse destination "${route.dst}"`)
  const family = cidr.family === 4 ? uapi.AF_INET : uapi.AF_INET6
  const scope = route.scope ?? (route.gw === undefined && cidr.family === 4 ? uapi.RT_SCOPE_LINK : uapi.RT_SCOPE_UNIVERSE)
  const table = route.table ?? uapi.RT_TABLE_MAIN
  const body = [
    uapi.rtmsg.encode({ ...ROUTE_HEADER, family, dst_len: cidr.prefix, table: table > 255 ? uapi.RT_TABLE_UNSPEC : table, scope, flags }),
  ]
  if (cidr.prefix > 0) body.push(attribute(uapi.RTA_DST, withoutHostBits(cidr.bytes, cidr.prefix)))
  if (table > 255) body.push(attribute(uapi.RTA_TABLE, u32(table)))
  if (route.priority !== undefined) body.push(attribute(uapi.RTA_PRIORITY, u32(route.priority)))
  const metrics: Buffer[] = []
  if (route.mtu !== undefined) metrics.push(attribute(uapi.RTAX_MTU, u32(route.mtu)))
  if (route.advmss !== undefined) metrics.push(attribute(uapi.RTAX_ADVMSS, u32(route.advmss)))
  if (metrics.length > 0) body.push(nested(uapi.RTA_METRICS, ...metrics))
  return body
}

/** ip_metrics_convert() of net/ipv4/metrics.c takes these for larger values; of 32 bits each. */
const MOST_MTU = 65535 - 15
const MOST_ADVMSS = 65535 - 40
/** IP6_RT_PRIO_USER of <linux/ipv6_route.h> */
const IPV6_PRIORITY = 1024

/**
 * The route as routeList() will show it: for numbers that say nothing (0) or too much the kernel
 * takes others.
 */
export function asKept({ mtu, advmss, priority, table, ...route }: Route): Route {
  const kept: Route = { ...route, dst: canonicalCidr(route.dst)! }
  if (mtu) kept.mtu = Math.min(mtu, MOST_MTU)
  if (advmss) kept.advmss = Math.min(advmss, MOST_ADVMSS)
  if (priority || (priority === 0 && familyOf(route.dst) === 6)) kept.priority = priority || IPV6_PRIORITY
  if (table !== undefined) kept.table = table || uapi.RT_TABLE_MAIN
  return kept
}

/**
 * Equivalent to: ip route show table all dev INDEX, without the kernel's own of the table local.
 */
export function routeList(netlink: NetlinkSocket, index: number): Route[] {
  return [uapi.AF_INET, uapi.AF_INET6]
    .flatMap(family => netlink.get(uapi.RTM_GETROUTE, uapi.NLM_F_DUMP, uapi.rtmsg.encode({ family }), attribute(uapi.RTA_OIF, u32(index))))
    .filter(payload => !isOfLocalTable(payload))
    .flatMap(decodeRoute)
}

/** The kernel makes these for its own addresses; others may put routes beside them. */
function isOfLocalTable(payload: Buffer): boolean {
  const { table, protocol } = uapi.rtmsg.decode(payload)
  return table === uapi.RT_TABLE_LOCAL && protocol === uapi.RTPROT_KERNEL
}

/** Reads the payload of an RTM_NEWROUTE message: one route for each next hop. */
export function decodeRoute(payload: Buffer): Route[] {
  const { family, dst_len, table } = uapi.rtmsg.decode(payload)
  const found = attributes(payload.subarray(uapi.rtmsg.size))
  const any = Buffer.alloc(family === uapi.AF_INET ? 4 : 16)
  const route: Route = {
    dst: `${formatAddress(found.get(uapi.RTA_DST) ?? any)}/${dst_len}`,
    table: found.get(uapi.RTA_TABLE)?.readUInt32LE() ?? table,
  }
  const priority = found.get(uapi.RTA_PRIORITY)
  if (priority !== undefined) route.priority = priority.readUInt32LE()
  const metrics = attributes(found.get(uapi.RTA_METRICS) ?? Buffer.alloc(0))
  if (metrics.has(uapi.RTAX_MTU)) route.mtu = metrics.get(uapi.RTAX_MTU)!.readUInt32LE()
  if (metrics.has(uapi.RTAX_ADVMSS)) route.advmss = metrics.get(uapi.RTAX_ADVMSS)!.readUInt32LE()
  return gateways(found).map(gw => (gw === undefined ? route : { ...route, gw }))
}

function gateways(found: Map<number, Buffer>): (string | undefined)[] {
  const multipath = found.get(uapi.RTA_MULTIPATH)
  if (multipath === undefined) return [found.has(uapi.RTA_GATEWAY) ? formatAddress(found.get(uapi.RTA_GATEWAY)!) : undefined]
  return nextHops(multipath).map(({ gw }) => gw)
}

/** Reads the payload of RTA_MULTIPATH. Throws RangeError when it is truncated. */
function nextHops(multipath: Buffer): { index: number; gw?: string }[] {
  const hops: { index: number; gw?: string }[] = []
  for (let at = 0; at < multipath.length; ) {
    const { len, ifindex } = uapi.rtnexthop.decode(multipath.subarray(at))
    if (len < uapi.rtnexthop.size || at + len > multipath.length)
      throw new RangeError(`Cannot decode next hop: length ${len} of ${multipath.length - at} bytes`)
    const gateway = attributes(multipath.subarray(at + uapi.rtnexthop.size, at + len)).get(uapi.RTA_GATEWAY)
    hops.push(gateway === undefined ? { index: ifindex } : { index: ifindex, gw: formatAddress(gateway) })
    at += (len + 3) & ~3
  }
  return hops
}

/**
 * Indexes of the devices of IPv4's default routes; when there are none, of IPv6's. Several when a
 * route has several next hops.
 */
export function defaultRouteIndexes(netlink: NetlinkSocket): number[] {
  for (const probe of ['1.1.1.1', '2000::']) {
    const found = defaultRouteMatch(netlink, probe) ?? defaultRoutesOf(netlink, probe)
    if (found.length > 0) return found
  }
  return []
}

/**
 * Equivalent to: ip route get fibmatch PROBE. undefined when the matching route is not a default
 * route.
 */
function defaultRouteMatch(netlink: NetlinkSocket, probe: string): number[] | undefined {
  const { family, bytes } = inet(probe)
  const header = uapi.rtmsg.encode({ family, dst_len: bytes.length * 8, flags: uapi.RTM_F_FIB_MATCH })
  try {
    const [reply] = netlink.get(uapi.RTM_GETROUTE, 0, header, attribute(uapi.RTA_DST, bytes))
    const { dst_len, type } = uapi.rtmsg.decode(reply!)
    return dst_len === 0 && type === uapi.RTN_UNICAST ? devicesOf(reply!) : undefined
  } catch (error) {
    if (!['ENETUNREACH', 'EHOSTUNREACH', 'EACCES', 'EINVAL'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error
    return undefined
  }
}

/** Equivalent to: ip route show default. The routes of the least metric in the table main. */
function defaultRoutesOf(netlink: NetlinkSocket, probe: string): number[] {
  const header = uapi.rtmsg.encode({ family: inet(probe).family, table: uapi.RT_TABLE_MAIN })
  const routes = netlink
    .get(uapi.RTM_GETROUTE, uapi.NLM_F_DUMP, header)
    .filter(payload => {
      const { dst_len, type, table } = uapi.rtmsg.decode(payload)
      return dst_len === 0 && type === uapi.RTN_UNICAST && table === uapi.RT_TABLE_MAIN
    })
    .map(payload => ({ payload, metric: attributes(payload.subarray(uapi.rtmsg.size)).get(uapi.RTA_PRIORITY)?.readUInt32LE() ?? 0 }))
  const least = Math.min(...routes.map(({ metric }) => metric))
  return routes.filter(({ metric }) => metric === least).flatMap(({ payload }) => devicesOf(payload))
}

/** The device of an RTM_NEWROUTE message, or the devices of all its next hops. */
export function devicesOf(payload: Buffer): number[] {
  const found = attributes(payload.subarray(uapi.rtmsg.size))
  const multipath = found.get(uapi.RTA_MULTIPATH)
  if (multipath !== undefined) return nextHops(multipath).map(({ index }) => index)
  const index = found.get(uapi.RTA_OIF)
  return index === undefined ? [] : [index.readUInt32LE()]
}

/**
 * Equivalent to: ip -6 route show default proto ra. Indexes of the devices of default routes that
 * routers have advertised.
 */
export function defaultRoutesByAdvertisement(netlink: NetlinkSocket): number[] {
  const header = { family: uapi.AF_INET6, protocol: uapi.RTPROT_RA }
  return netlink
    .get(uapi.RTM_GETROUTE, uapi.NLM_F_DUMP, uapi.rtmsg.encode(header))
    .filter(payload => {
      const { dst_len, protocol, type } = uapi.rtmsg.decode(payload)
      return dst_len === 0 && protocol === uapi.RTPROT_RA && type === uapi.RTN_UNICAST
    })
    .flatMap(devicesOf)
}
