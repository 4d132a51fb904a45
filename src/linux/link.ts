/** `ip link`: see rtnetlink(7), "RTM_NEWLINK". */
import { attribute, attributes, type NetlinkSocket, nested, type Request, text, u32 } from './netlink.ts'
import { struct, u64 } from './struct.ts'
import * as uapi from './uapi.ts'

export interface Link {
  index: number
  name: string
  mtu: number
  flags: number
  txQLen: number
  alias?: string
  kind?: string
  /** Link layer address, hex pairs with colons; absent where there is none. */
  mac?: string
  /**
   * Counters since the device was made. It has received what the process or device at its other end
   * sent.
   */
  stats: LinkStats
  /** True when the device has a carrier: a TUN has one while a process holds it open. */
  running: boolean
  /** IF_OPER_UP and its like: what the kernel has made of the carrier so far. */
  operState: number
  /** `type` 1 is TUN, 2 TAP. */
  tun?: { type: number; owner?: number; group?: number; persist: boolean; multiQueue: boolean; vnetHdr: boolean }
}

export interface LinkStats {
  rxPackets: number
  rxBytes: number
  rxDropped: number
  txPackets: number
  txBytes: number
  txDropped: number
}

/** The beginning of struct rtnl_link_stats64, <linux/if_link.h>. */
const linkStats64 = struct({
  rxPackets: u64,
  txPackets: u64,
  rxBytes: u64,
  txBytes: u64,
  rxErrors: u64,
  txErrors: u64,
  rxDropped: u64,
  txDropped: u64,
})

/** linkGet(); undefined when the device does not exist. */
export function linkFind(netlink: NetlinkSocket, name: string): Link | undefined {
  try {
    return linkGet(netlink, name)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENODEV') throw error
    return undefined
  }
}

/** Equivalent to: ip link show dev NAME. Throws NetlinkError ENODEV. */
export function linkGet(netlink: NetlinkSocket, name: string): Link {
  const [reply] = netlink.get(uapi.RTM_GETLINK, 0, uapi.ifinfomsg.encode({}), attribute(uapi.IFLA_IFNAME, text(name)))
  return decodeLink(reply!)
}

/** Equivalent to: ip -d link show, of all devices of the socket's namespace. */
export const linkList = (netlink: NetlinkSocket): Link[] =>
  netlink.get(uapi.RTM_GETLINK, uapi.NLM_F_DUMP, uapi.ifinfomsg.encode({})).map(decodeLink)

/** True while a device has this index. Waits for other processes that change links. */
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
    running: found.get(uapi.IFLA_CARRIER)?.readUInt8() === 1,
    operState: found.get(uapi.IFLA_OPERSTATE)?.readUInt8() ?? uapi.IF_OPER_UNKNOWN,
    stats: decodeStats(found.get(uapi.IFLA_STATS64)),
  }
  const mac = found.get(uapi.IFLA_ADDRESS)
  if (mac !== undefined && mac.length > 0) link.mac = mac.toString('hex').replace(/..(?=.)/g, '$&:')
  const alias = found.get(uapi.IFLA_IFALIAS)
  if (alias !== undefined) link.alias = string(alias)
  const info = attributes(found.get(uapi.IFLA_LINKINFO) ?? Buffer.alloc(0))
  const kind = info.get(uapi.IFLA_INFO_KIND)
  if (kind !== undefined) link.kind = string(kind)
  const tun = info.get(uapi.IFLA_INFO_DATA)
  if (link.kind === 'tun' && tun !== undefined) link.tun = decodeTun(attributes(tun))
  return link
}

function decodeStats(bytes: Buffer | undefined): LinkStats {
  const { rxErrors, txErrors, ...stats } = linkStats64.decode(bytes ?? Buffer.alloc(linkStats64.size))
  return stats
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

/** IN6_ADDR_GEN_MODE_NONE, <linux/if_link.h>: the kernel gives the device no link-local address. */
export const ADDR_GEN_MODE_NONE = 1

export interface LinkSettings {
  mtu?: number | undefined
  txQLen?: number | undefined
  alias?: string | undefined
  up?: boolean
  /** Link layer address. */
  mac?: Buffer | undefined
  /** net.ipv4.conf.DEVICE.rp_filter */
  rpFilter?: number | undefined
  /** net.ipv4.conf.DEVICE.forwarding */
  forwarding?: boolean
  /** net.ipv6.conf.DEVICE.addr_gen_mode; a kernel without IPv6 answers EAFNOSUPPORT. */
  addrGenMode?: number | undefined
}

/**
 * Equivalent to: ip link set dev INDEX [mtu MTU] [txqueuelen LENGTH] [alias ALIAS] [addrgenmode
 * MODE] [up|down]
 */
export function linkChange(index: number, set: LinkSettings): Request {
  const change = set.up === undefined ? 0 : uapi.IFF_UP
  const body = [uapi.ifinfomsg.encode({ index, flags: set.up === true ? uapi.IFF_UP : 0, change })]
  if (set.mac !== undefined) body.push(attribute(uapi.IFLA_ADDRESS, set.mac))
  if (set.mtu !== undefined) body.push(attribute(uapi.IFLA_MTU, u32(set.mtu)))
  if (set.txQLen !== undefined) body.push(attribute(uapi.IFLA_TXQLEN, u32(set.txQLen)))
  if (set.alias !== undefined) body.push(attribute(uapi.IFLA_IFALIAS, text(set.alias)))
  const families: Buffer[] = []
  const inet: Buffer[] = []
  if (set.rpFilter !== undefined) inet.push(attribute(uapi.IPV4_DEVCONF_RP_FILTER, u32(set.rpFilter)))
  if (set.forwarding === true) inet.push(attribute(uapi.IPV4_DEVCONF_FORWARDING, u32(1)))
  if (inet.length > 0) families.push(nested(uapi.AF_INET, nested(uapi.IFLA_INET_CONF, ...inet)))
  if (set.addrGenMode !== undefined)
    families.push(nested(uapi.AF_INET6, attribute(uapi.IFLA_INET6_ADDR_GEN_MODE, Buffer.from([set.addrGenMode]))))
  if (families.length > 0) body.push(nested(uapi.IFLA_AF_SPEC, ...families))
  return { type: uapi.RTM_NEWLINK, flags: 0, body, doing: 'set link' }
}

/**
 * Equivalent to: ip link delete dev INDEX. Waits some 20 ms for the kernel; LinkDeleter does not
 * wait for it.
 */
export function linkDelete(netlink: NetlinkSocket, index: number): void {
  netlink.requestBatch([linkDeletion(index)])
}

/** The request that deletes a link. */
export const linkDeletion = (index: number): Request => ({ type: uapi.RTM_DELLINK, flags: 0, body: [uapi.ifinfomsg.encode({ index })] })
