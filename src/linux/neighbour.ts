/**
 * Permanent neighbours, and a VXLAN device's forwarding entries: see ip-neighbour(8), bridge(8).
 */
import { formatAddress, parseAddress } from '../address.ts'
import { attribute, attributes, type NetlinkSocket, u32 } from './netlink.ts'
import * as uapi from './uapi.ts'

/**
 * `mac` answers for `address`: the next hop in a neighbour entry, the far VTEP's underlay address
 * in a forwarding entry.
 */
export interface Neighbour {
  address: string
  /** Six hex pairs with colons. */
  mac: string
}

const REPLACE = uapi.NLM_F_CREATE | uapi.NLM_F_REPLACE

export const macBytes = (mac: string) => Buffer.from(mac.replaceAll(':', ''), 'hex')
const formatMac = (bytes: Buffer) => bytes.toString('hex').replace(/..(?=.)/g, '$&:')

function neighbourBody(index: number, { address, mac }: Neighbour): Buffer[] {
  const { family, bytes } = parseAddress(address)!
  const header = { family: family === 4 ? uapi.AF_INET : uapi.AF_INET6, ifindex: index, state: uapi.NUD_PERMANENT }
  return [uapi.ndmsg.encode(header), attribute(uapi.NDA_DST, bytes), attribute(uapi.NDA_LLADDR, macBytes(mac))]
}

/** Equivalent to: ip neighbour replace ADDRESS lladdr MAC dev INDEX nud permanent */
export function neighbourReplace(netlink: NetlinkSocket, index: number, neighbour: Neighbour): void {
  netlink.requestBatch([
    { type: uapi.RTM_NEWNEIGH, flags: REPLACE, body: neighbourBody(index, neighbour), doing: `add neighbour ${neighbour.address}` },
  ])
}

/** Equivalent to: ip neighbour delete ADDRESS dev INDEX. A missing entry is not an error. */
export function neighbourDelete(netlink: NetlinkSocket, index: number, neighbour: Neighbour): void {
  ignoringMissing(() =>
    netlink.requestBatch([
      { type: uapi.RTM_DELNEIGH, flags: 0, body: neighbourBody(index, neighbour), doing: `delete neighbour ${neighbour.address}` },
    ]),
  )
}

/** Equivalent to: ip neighbour show dev INDEX nud permanent, of both families. */
export function neighbourList(netlink: NetlinkSocket, index: number): Neighbour[] {
  return [uapi.AF_INET, uapi.AF_INET6].flatMap(family =>
    netlink
      .get(uapi.RTM_GETNEIGH, uapi.NLM_F_DUMP, uapi.ndmsg.encode({ family }), attribute(uapi.NDA_IFINDEX, u32(index)))
      .filter(payload => uapi.ndmsg.decode(payload).state === uapi.NUD_PERMANENT)
      .flatMap(payload => decodeNeighbour(payload, index)),
  )
}

function fdbBody(index: number, { address, mac }: Neighbour): Buffer[] {
  const header = { family: uapi.AF_BRIDGE, ifindex: index, state: uapi.NUD_NOARP | uapi.NUD_PERMANENT, flags: uapi.NTF_SELF }
  return [uapi.ndmsg.encode(header), attribute(uapi.NDA_LLADDR, macBytes(mac)), attribute(uapi.NDA_DST, parseAddress(address)!.bytes)]
}

/** Equivalent to: bridge fdb replace MAC dev INDEX dst ADDRESS self permanent */
export function fdbReplace(netlink: NetlinkSocket, index: number, entry: Neighbour): void {
  netlink.requestBatch([
    { type: uapi.RTM_NEWNEIGH, flags: REPLACE, body: fdbBody(index, entry), doing: `add forwarding entry ${entry.mac}` },
  ])
}

/**
 * Equivalent to: bridge fdb delete MAC dev INDEX dst ADDRESS self. A missing entry is not an error.
 */
export function fdbDelete(netlink: NetlinkSocket, index: number, entry: Neighbour): void {
  ignoringMissing(() =>
    netlink.requestBatch([
      { type: uapi.RTM_DELNEIGH, flags: 0, body: fdbBody(index, entry), doing: `delete forwarding entry ${entry.mac}` },
    ]),
  )
}

/** Equivalent to: bridge fdb show dev INDEX */
export function fdbList(netlink: NetlinkSocket, index: number): Neighbour[] {
  return netlink
    .get(uapi.RTM_GETNEIGH, uapi.NLM_F_DUMP, uapi.ndmsg.encode({ family: uapi.AF_BRIDGE, ifindex: index }))
    .flatMap(payload => decodeNeighbour(payload, index))
}

/**
 * Reads the payload of an RTM_NEWNEIGH message as a list: empty when it is of another device or has
 * no address.
 */
export function decodeNeighbour(payload: Buffer, index: number): Neighbour[] {
  const found = attributes(payload.subarray(uapi.ndmsg.size))
  const address = found.get(uapi.NDA_DST)
  const mac = found.get(uapi.NDA_LLADDR)
  if (uapi.ndmsg.decode(payload).ifindex !== index || address === undefined || mac === undefined) return []
  return [{ address: formatAddress(address), mac: formatMac(mac) }]
}

function ignoringMissing(body: () => void): void {
  try {
    body()
  } catch (error) {
    if (!['ENOENT', 'ENODEV', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error
  }
}
