/** Puts the wanted routes, neighbours and forwarding entries into the kernel: what differs and no more, and nothing that is not ours. */
import { addressPart, bits, familyOf } from '../address.ts'
import { addressAddition, addressList } from '../linux/address-messages.ts'
import { linkChange, linkDelete, linkMtu } from '../linux/link.ts'
import * as neighbour from '../linux/neighbour.ts'
import type { NetlinkSocket } from '../linux/netlink.ts'
import { indexOfAddress, nextHop, nodeRouteAdd, nodeRouteDelete, nodeRouteList } from '../linux/node-route.ts'
import { defaultRouteIndex } from '../linux/route.ts'
import { disableTxChecksum, type Vxlan, vxlanAdd, vxlanGet, vxlanOverhead } from '../linux/vxlan.ts'
import { describe } from './log.ts'
import type { NodeInfo } from './node-info.ts'
import { type Backend, difference, neighbourKey, routeKey, vtepMac, type Wanted, wantedByHostGw, wantedByVxlan } from './routes.ts'

export const VXLAN_DEVICE = 'tunlink-vxlan'

export interface NetworkOptions {
  backend: Backend
  vxlanId: number
  vxlanPort: number
  vxlanTxChecksum: boolean
}

export interface Programmed {
  /** Routes to other nodes' pods. */
  wanted: number
  installed: number
  changed: number
  refused: Wanted['refused']
}

/** MTU in bytes that the pods' packets to other nodes may have. */
export function podMtu(netlink: NetlinkSocket, own: NodeInfo, backend: Backend): number {
  const address = own.internalIPs[0]
  const index = (address === undefined ? undefined : indexOfAddress(netlink, address)) ?? defaultRouteIndex(netlink)?.index
  const uplink = index === undefined ? 1500 : Math.min(linkMtu(netlink, index), 65535)
  return backend === 'vxlan' ? uplink - vxlanOverhead(familyOf(address!)) : uplink
}

/** Throws what the kernel refused of the VXLAN device; a refused route is told in `refused`. */
export function programNetwork(netlink: NetlinkSocket, nodes: NodeInfo[], own: NodeInfo, options: NetworkOptions): Programmed {
  if (options.backend !== 'vxlan') removeVxlan(netlink)
  if (options.backend === 'none') return { wanted: 0, installed: 0, refused: [], changed: removeRoutes(netlink) }
  if (options.backend === 'host-gw')
    return apply(
      netlink,
      wantedByHostGw(nodes, own, address => nextHop(netlink, address)),
    )
  const index = ensureVxlan(netlink, own, options)
  return apply(netlink, wantedByVxlan(nodes, own, index), index)
}

/** Removes every route of our protocol; how many there were. */
export function removeRoutes(netlink: NetlinkSocket): number {
  const routes = nodeRouteList(netlink)
  for (const route of routes) nodeRouteDelete(netlink, route)
  return routes.length
}

/** True when there was one. */
export function removeVxlan(netlink: NetlinkSocket): boolean {
  const present = vxlanGet(netlink, VXLAN_DEVICE)
  if (present !== undefined) linkDelete(netlink, present.index)
  return present !== undefined
}

/** The device as it should be, made anew when it differs: its index. */
function ensureVxlan(netlink: NetlinkSocket, own: NodeInfo, options: NetworkOptions): number {
  const local = own.internalIPs[0]
  if (local === undefined) throw new Error(`Cannot make ${VXLAN_DEVICE}: node ${own.name} has no InternalIP`)
  const device: Vxlan = {
    name: VXLAN_DEVICE,
    id: options.vxlanId,
    port: options.vxlanPort,
    local,
    mac: vtepMac(local),
    mtu: podMtu(netlink, own, 'vxlan'),
  }
  let present = vxlanGet(netlink, VXLAN_DEVICE)
  if (present !== undefined && (!present.up || Object.entries(device).some(([key, value]) => present![key as keyof Vxlan] !== value))) {
    linkDelete(netlink, present.index)
    present = undefined
  }
  if (present === undefined) {
    vxlanAdd(netlink, device)
    present = vxlanGet(netlink, VXLAN_DEVICE)!
    if (!options.vxlanTxChecksum) disableTxChecksum(VXLAN_DEVICE)
    withoutLinkLocal(netlink, present.index)
  }
  ensureAddresses(netlink, present.index, own)
  return present.index
}

/** A kernel without IPv6 refuses, and has no such addresses. */
function withoutLinkLocal(netlink: NetlinkSocket, index: number): void {
  try {
    netlink.requestBatch([linkChange(index, { addrGenMode: 1 })])
  } catch (error) {
    if (!['EAFNOSUPPORT', 'EOPNOTSUPP'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error
  }
}

/** The base address of each pod CIDR: what this node sends from to the pods of others, so that their answers come back by VXLAN too. */
function ensureAddresses(netlink: NetlinkSocket, index: number, own: NodeInfo): void {
  const present = addressList(netlink, index).map(({ local }) => local)
  const missing = own.podCIDRs.map(addressPart).filter(local => !present.includes(local))
  if (missing.length > 0) netlink.requestBatch(missing.map(local => addressAddition(index, { local, prefix: bits(familyOf(local)) })))
}

function apply(netlink: NetlinkSocket, wanted: Wanted, vxlan?: number): Programmed {
  const refused = [...wanted.refused]
  let changed = 0
  const attempt = (what: string, body: () => void) => {
    try {
      body()
      changed++
    } catch (error) {
      const reason = (error as NodeJS.ErrnoException).code === 'EEXIST' ? 'there is one already that is not ours' : describe(error)
      refused.push({ node: what, reason })
    }
  }
  if (vxlan !== undefined) {
    const fdb = difference(wanted.fdb, neighbour.fdbList(netlink, vxlan), neighbourKey)
    for (const entry of fdb.remove) attempt(entry.mac, () => neighbour.fdbDelete(netlink, vxlan, entry))
    for (const entry of fdb.add) attempt(entry.mac, () => neighbour.fdbReplace(netlink, vxlan, entry))
    const neighbours = difference(wanted.neighbours, neighbour.neighbourList(netlink, vxlan), neighbourKey)
    for (const entry of neighbours.remove) attempt(entry.address, () => neighbour.neighbourDelete(netlink, vxlan, entry))
    for (const entry of neighbours.add) attempt(entry.address, () => neighbour.neighbourReplace(netlink, vxlan, entry))
  }
  const routes = difference(wanted.routes, nodeRouteList(netlink), routeKey)
  for (const route of routes.remove) attempt(`route ${route.dst}`, () => nodeRouteDelete(netlink, route))
  for (const route of routes.add) attempt(`route ${route.dst}`, () => nodeRouteAdd(netlink, route))
  const present = new Set(nodeRouteList(netlink).map(routeKey))
  const installed = wanted.routes.filter(route => present.has(routeKey(route))).length
  return { wanted: wanted.routes.length + wanted.refused.length, installed, changed, refused }
}
