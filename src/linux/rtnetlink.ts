/** The `ip` commands this program needs: see rtnetlink(7). */
import { formatAddress, parseAddress, parseCidr } from './inet.ts'
import { attribute, attributes, type NetlinkSocket, nested, type Request, u32 } from './netlink.ts'
import * as uapi from './uapi.ts'

/** An address on a link. With `peer`, `prefix` is the peer's: `local peer PEER/PREFIX`. */
export interface Address {
  local: string
  prefix: number
  peer?: string
}

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

export interface Link {
  index: number
  name: string
  mtu: number
  flags: number
  txQLen: number
  alias?: string
  kind?: string
  /** `type` 1 is TUN, 2 TAP. */
  tun?: { type: number; owner?: number; group?: number; persist: boolean; multiQueue: boolean; vnetHdr: boolean }
}

const CREATE = uapi.NLM_F_CREATE | uapi.NLM_F_EXCL
const ROUTE_HEADER = { protocol: uapi.RTPROT_STATIC, type: uapi.RTN_UNICAST }

const text = (value: string) => Buffer.from(`${value}\0`)

function address(value: string): { family: number; bytes: Buffer } {
  const parsed = parseAddress(value)
  if (parsed === undefined) throw new SyntaxError(`Cannot parse address "${value}"`)
  return { family: parsed.family === 4 ? uapi.AF_INET : uapi.AF_INET6, bytes: parsed.bytes }
}

/** ip link show dev NAME: throws NetlinkError ENODEV. */
export function linkGet(netlink: NetlinkSocket, name: string): Link {
  const [reply] = netlink.get(uapi.RTM_GETLINK, 0, uapi.ifinfomsg.encode({}), attribute(uapi.IFLA_IFNAME, text(name)))
  return decodeLink(reply!)
}

/** True while a device has this index. Waits for whoever changes links meanwhile. */
export function linkExists(netlink: NetlinkSocket, index: number): boolean {
  try {
    netlink.get(uapi.RTM_GETLINK, 0, uapi.ifinfomsg.encode({ index }))
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENODEV') return false
    throw error
  }
}

/** mtu of the device with this index, in bytes. */
export function linkMtu(netlink: NetlinkSocket, index: number): number {
  return decodeLink(netlink.get(uapi.RTM_GETLINK, 0, uapi.ifinfomsg.encode({ index }))[0]!).mtu
}

/** The payload of an RTM_NEWLINK message. */
export function decodeLink(payload: Buffer): Link {
  const { index, flags } = uapi.ifinfomsg.decode(payload)
  const found = attributes(payload.subarray(uapi.ifinfomsg.size))
  const link: Link = {
    index,
    flags,
    name: string(found.get(uapi.IFLA_IFNAME)),
    mtu: found.get(uapi.IFLA_MTU)?.readUInt32LE() ?? 0,
    txQLen: found.get(uapi.IFLA_TXQLEN)?.readUInt32LE() ?? 0,
  }
  const alias = found.get(uapi.IFLA_IFALIAS)
  if (alias !== undefined) link.alias = string(alias)
  const info = attributes(found.get(uapi.IFLA_LINKINFO) ?? Buffer.alloc(0))
  const kind = info.get(uapi.IFLA_INFO_KIND)
  if (kind !== undefined) link.kind = string(kind)
  const tun = info.get(uapi.IFLA_INFO_DATA)
  if (link.kind === 'tun' && tun !== undefined) link.tun = decodeTun(attributes(tun))
  return link
}

const string = (bytes: Buffer | undefined) => (bytes ?? Buffer.alloc(0)).toString().replace(/\0$/, '')

function decodeTun(found: Map<number, Buffer>): NonNullable<Link['tun']> {
  const flag = (type: number) => found.get(type)?.readUInt8() === 1
  const tun: NonNullable<Link['tun']> = {
    type: found.get(uapi.IFLA_TUN_TYPE)?.readUInt8() ?? 0,
    persist: flag(uapi.IFLA_TUN_PERSIST),
    multiQueue: flag(uapi.IFLA_TUN_MULTI_QUEUE),
    vnetHdr: flag(uapi.IFLA_TUN_VNET_HDR),
  }
  const owner = found.get(uapi.IFLA_TUN_OWNER)
  const group = found.get(uapi.IFLA_TUN_GROUP)
  if (owner !== undefined) tun.owner = owner.readUInt32LE()
  if (group !== undefined) tun.group = group.readUInt32LE()
  return tun
}

export interface LinkSettings {
  mtu?: number | undefined
  txQLen?: number | undefined
  alias?: string | undefined
  up?: boolean
  /** net.ipv4.conf.DEVICE.rp_filter */
  rpFilter?: number | undefined
  /** net.ipv6.conf.DEVICE.addr_gen_mode; a kernel without IPv6 answers EAFNOSUPPORT. */
  addrGenMode?: number | undefined
}

/** ip link set dev INDEX [mtu MTU] [txqueuelen LENGTH] [alias ALIAS] [addrgenmode MODE] [up] */
export function linkChange(index: number, set: LinkSettings): Request {
  const flags = set.up === true ? uapi.IFF_UP : 0
  const body = [uapi.ifinfomsg.encode({ index, flags, change: flags })]
  if (set.mtu !== undefined) body.push(attribute(uapi.IFLA_MTU, u32(set.mtu)))
  if (set.txQLen !== undefined) body.push(attribute(uapi.IFLA_TXQLEN, u32(set.txQLen)))
  if (set.alias !== undefined) body.push(attribute(uapi.IFLA_IFALIAS, text(set.alias)))
  const families: Buffer[] = []
  if (set.rpFilter !== undefined)
    families.push(nested(uapi.AF_INET, nested(uapi.IFLA_INET_CONF, attribute(uapi.IPV4_DEVCONF_RP_FILTER, u32(set.rpFilter)))))
  if (set.addrGenMode !== undefined)
    families.push(nested(uapi.AF_INET6, attribute(uapi.IFLA_INET6_ADDR_GEN_MODE, Buffer.from([set.addrGenMode]))))
  if (families.length > 0) body.push(nested(uapi.IFLA_AF_SPEC, ...families))
  return { type: uapi.RTM_NEWLINK, flags: 0, body, doing: 'set link' }
}

/** ip link delete dev INDEX: takes the kernel's grace period, some 20 ms; LinkDeleter does not wait for it. */
export function linkDelete(netlink: NetlinkSocket, index: number): void {
  netlink.requestBatch([linkDeletion(index)])
}

/** The request that deletes a link. */
export const linkDeletion = (index: number): Request => ({ type: uapi.RTM_DELLINK, flags: 0, body: [uapi.ifinfomsg.encode({ index })] })

/** ip address add LOCAL [peer PEER]/PREFIX dev INDEX */
export function addressAddition(index: number, { local, peer, prefix }: Address): Request {
  const { family, bytes } = address(local)
  const flags = family === uapi.AF_INET6 ? uapi.IFA_F_NODAD : 0
  const body = [
    uapi.ifaddrmsg.encode({ family, prefixlen: prefix, flags, index }),
    attribute(uapi.IFA_LOCAL, bytes),
    attribute(uapi.IFA_ADDRESS, peer === undefined ? bytes : address(peer).bytes),
  ]
  const doing = `add address ${local}${peer === undefined ? '' : ` peer ${peer}`}/${prefix}`
  return { type: uapi.RTM_NEWADDR, flags: CREATE, body, doing }
}

/** ip address show dev INDEX: without the addresses that the kernel made itself (link-local, by SLAAC). */
export function addressList(netlink: NetlinkSocket, index: number): Address[] {
  return [uapi.AF_INET, uapi.AF_INET6].flatMap(family =>
    netlink.get(uapi.RTM_GETADDR, uapi.NLM_F_DUMP, uapi.ifaddrmsg.encode({ family, index })).map(decodeAddress),
  )
}

/** The payload of an RTM_NEWADDR message. IPv6 leaves IFA_LOCAL out when there is no peer. */
export function decodeAddress(payload: Buffer): Address {
  const { prefixlen } = uapi.ifaddrmsg.decode(payload)
  const found = attributes(payload.subarray(uapi.ifaddrmsg.size))
  const far = found.get(uapi.IFA_ADDRESS)
  const near = found.get(uapi.IFA_LOCAL) ?? far
  if (near === undefined) throw new RangeError('Cannot decode an address without IFA_LOCAL and IFA_ADDRESS')
  const decoded: Address = { local: formatAddress(near), prefix: prefixlen }
  if (far !== undefined && !far.equals(near)) decoded.peer = formatAddress(far)
  return decoded
}

/** ip route add DST [via GW] dev INDEX [onlink] [metric PRIORITY] [table TABLE] [mtu MTU] [advmss ADVMSS] [scope SCOPE] */
export function routeAddition(index: number, route: Route): Request {
  const body = [...routeBody(route, route.onlink ? uapi.RTNH_F_ONLINK : 0), attribute(uapi.RTA_OIF, u32(index))]
  if (route.gw !== undefined) body.push(attribute(uapi.RTA_GATEWAY, address(route.gw).bytes))
  const doing = `add route ${route.dst}${route.gw === undefined ? '' : ` via ${route.gw}`}`
  return { type: uapi.RTM_NEWROUTE, flags: CREATE, body, doing }
}

/** ip route add DST nexthop via GW1 dev INDEX nexthop via GW2 dev INDEX ...: the first route says all but the next hops. */
export function ecmpAddition(index: number, routes: Route[]): Request {
  const first = routes[0]!
  const hops = routes.map(({ gw, onlink }) => {
    const gateway = gw === undefined ? Buffer.alloc(0) : attribute(uapi.RTA_GATEWAY, address(gw).bytes)
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
  if (cidr.prefix > 0) body.push(attribute(uapi.RTA_DST, masked(cidr.bytes, cidr.prefix)))
  if (table > 255) body.push(attribute(uapi.RTA_TABLE, u32(table)))
  if (route.priority !== undefined) body.push(attribute(uapi.RTA_PRIORITY, u32(route.priority)))
  const metrics: Buffer[] = []
  if (route.mtu !== undefined) metrics.push(attribute(uapi.RTAX_MTU, u32(route.mtu)))
  if (route.advmss !== undefined) metrics.push(attribute(uapi.RTAX_ADVMSS, u32(route.advmss)))
  if (metrics.length > 0) body.push(nested(uapi.RTA_METRICS, ...metrics))
  return body
}

/** The kernel refuses a destination with host bits set. */
function masked(bytes: Buffer, prefix: number): Buffer {
  return Buffer.from(bytes.map((byte, index) => byte & (0xff << Math.max(0, 8 - Math.max(0, prefix - index * 8)))))
}

/** ip route show table all dev INDEX, without the kernel's own local table. */
export function routeList(netlink: NetlinkSocket, index: number): Route[] {
  return [uapi.AF_INET, uapi.AF_INET6]
    .flatMap(family => netlink.get(uapi.RTM_GETROUTE, uapi.NLM_F_DUMP, uapi.rtmsg.encode({ family }), attribute(uapi.RTA_OIF, u32(index))))
    .flatMap(decodeRoute)
    .filter(route => route.table !== uapi.RT_TABLE_LOCAL)
}

/** The payload of an RTM_NEWROUTE message: a route per next hop. */
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
  const hops: (string | undefined)[] = []
  for (let at = 0; at < multipath.length; ) {
    const { len } = uapi.rtnexthop.decode(multipath.subarray(at))
    if (len < uapi.rtnexthop.size || at + len > multipath.length)
      throw new RangeError(`Cannot decode next hop: length ${len} of ${multipath.length - at} bytes`)
    const gateway = attributes(multipath.subarray(at + uapi.rtnexthop.size, at + len)).get(uapi.RTA_GATEWAY)
    hops.push(gateway && formatAddress(gateway))
    at += (len + 3) & ~3
  }
  return hops
}

/** ip route get 1.1.1.1, else 2000:: (any address that only a default route leads to): the device index, undefined when there is none. */
export function defaultRouteIndex(netlink: NetlinkSocket): { index: number } | undefined {
  for (const destination of ['1.1.1.1', '2000::']) {
    const { family, bytes } = address(destination)
    try {
      const [reply] = netlink.get(
        uapi.RTM_GETROUTE,
        0,
        uapi.rtmsg.encode({ family, dst_len: bytes.length * 8 }),
        attribute(uapi.RTA_DST, bytes),
      )
      const index = attributes(reply!.subarray(uapi.rtmsg.size)).get(uapi.RTA_OIF)
      if (index !== undefined) return { index: index.readUInt32LE() }
    } catch (error) {
      if (!['ENETUNREACH', 'EHOSTUNREACH', 'EACCES', 'EINVAL'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error
    }
  }
  return undefined
}
