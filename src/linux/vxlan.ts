/** A VXLAN device without learning and flooding: see ip-link(8), "type vxlan", and RFC 7348. */
import { closeSync } from 'node:fs'
import { formatAddress, parseAddress } from '../address.ts'
import { addressOf, ioctl, keepAlive, socket } from './libc.ts'
import { decodeLink } from './link.ts'
import { macBytes } from './neighbour.ts'
import { attribute, attributes, type NetlinkSocket, nested, u32 } from './netlink.ts'
import * as uapi from './uapi.ts'

export interface Vxlan {
  name: string
  /** Network identifier (VNI). */
  id: number
  /** The underlay address this node sends from. */
  local: string
  /** UDP port. */
  port: number
  mac: string
  /** Bytes of an inner packet. */
  mtu: number
}

/**
 * Bytes that VXLAN puts around an inner IP packet: outer IP (20 or 40), UDP (8), VXLAN (8), inner
 * Ethernet (14).
 */
export const vxlanOverhead = (underlay: 4 | 6) => (underlay === 4 ? 50 : 70)

const text = (value: string) => Buffer.from(`${value}\0`)

/**
 * Equivalent to: ip link add NAME address MAC mtu MTU up type vxlan id ID local LOCAL dstport PORT
 * nolearning
 */
export function vxlanAdd(netlink: NetlinkSocket, { name, id, local, port, mac, mtu }: Vxlan): void {
  const { family, bytes } = parseAddress(local)!
  const portBytes = Buffer.alloc(2)
  portBytes.writeUInt16BE(port)
  const body = [
    uapi.ifinfomsg.encode({ flags: uapi.IFF_UP, change: uapi.IFF_UP }),
    attribute(uapi.IFLA_IFNAME, text(name)),
    attribute(uapi.IFLA_ADDRESS, macBytes(mac)),
    attribute(uapi.IFLA_MTU, u32(mtu)),
    nested(
      uapi.IFLA_LINKINFO,
      attribute(uapi.IFLA_INFO_KIND, Buffer.from('vxlan')),
      nested(
        uapi.IFLA_INFO_DATA,
        attribute(uapi.IFLA_VXLAN_ID, u32(id)),
        attribute(family === 4 ? uapi.IFLA_VXLAN_LOCAL : uapi.IFLA_VXLAN_LOCAL6, bytes),
        attribute(uapi.IFLA_VXLAN_LEARNING, Buffer.from([0])),
        attribute(uapi.IFLA_VXLAN_PORT, portBytes),
      ),
    ),
  ]
  netlink.requestBatch([{ type: uapi.RTM_NEWLINK, flags: uapi.NLM_F_CREATE | uapi.NLM_F_EXCL, body, doing: `add VXLAN device ${name}` }])
}

/**
 * Equivalent to: ip -d link show dev NAME type vxlan. undefined when the device does not exist or
 * is of another kind.
 */
export function vxlanGet(netlink: NetlinkSocket, name: string): (Vxlan & { index: number; up: boolean }) | undefined {
  let payload: Buffer
  try {
    payload = netlink.get(uapi.RTM_GETLINK, 0, uapi.ifinfomsg.encode({}), attribute(uapi.IFLA_IFNAME, text(name)))[0]!
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENODEV') return undefined
    throw error
  }
  return decodeVxlan(payload)
}

/** Reads the payload of an RTM_NEWLINK message; undefined for a device of another kind. */
export function decodeVxlan(payload: Buffer): (Vxlan & { index: number; up: boolean }) | undefined {
  const { kind, name, mtu, index, flags } = decodeLink(payload)
  if (kind !== 'vxlan') return undefined
  const found = attributes(payload.subarray(uapi.ifinfomsg.size))
  const data = attributes(attributes(found.get(uapi.IFLA_LINKINFO)!).get(uapi.IFLA_INFO_DATA) ?? Buffer.alloc(0))
  const local = data.get(uapi.IFLA_VXLAN_LOCAL) ?? data.get(uapi.IFLA_VXLAN_LOCAL6)
  return {
    name,
    mtu,
    index,
    up: (flags & uapi.IFF_UP) !== 0,
    id: data.get(uapi.IFLA_VXLAN_ID)?.readUInt32LE() ?? 0,
    port: data.get(uapi.IFLA_VXLAN_PORT)?.readUInt16BE() ?? 0,
    local: local === undefined ? '' : formatAddress(local),
    mac: (found.get(uapi.IFLA_ADDRESS) ?? Buffer.alloc(0)).toString('hex').replace(/..(?=.)/g, '$&:'),
  }
}

/**
 * Equivalent to: ethtool -K NAME tx off. Inner checksums are then computed in software, for network
 * cards that compute those of encapsulated packets wrongly.
 */
export function disableTxChecksum(name: string): void {
  const value = Buffer.alloc(8) // struct ethtool_value { cmd, data }
  value.writeUInt32LE(uapi.ETHTOOL_STXCSUM)
  const ifreq = Buffer.alloc(40)
  ifreq.write(name)
  ifreq.writeBigUInt64LE(BigInt(addressOf(value)), uapi.IFNAMSIZ)
  const fd = socket(uapi.AF_INET, uapi.SOCK_DGRAM | uapi.SOCK_CLOEXEC, 0)
  try {
    ioctl(fd, uapi.SIOCETHTOOL, ifreq)
    keepAlive(value)
  } finally {
    closeSync(fd)
  }
}
