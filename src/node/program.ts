/**
 * Writes the wanted routes, neighbours and forwarding entries into the kernel: only differences,
 * and only entries of ours.
 */
import { addressPart, bits, familyOf } from '../address.ts'
import { addressAddition, addressDeletion, addressList } from '../linux/address-messages.ts'
import { linkChange, linkDelete, linkMtu } from '../linux/link.ts'
import * as neighbour from '../linux/neighbour.ts'
import type { NetlinkSocket } from '../linux/netlink.ts'
import { indexOfAddress, type NodeRoute, nextHop } from '../linux/node-route.ts'
import { defaultRouteIndexes } from '../linux/route.ts'
import { disableTxChecksum, type Vxlan, vxlanAdd, vxlanGet, vxlanOverhead } from '../linux/vxlan.ts'
import { describe } from './log.ts'
import type { NodeInfo } from './node-info.ts'
import type { Nodes } from './nodes.ts'
import { decodeOwnRoutes, nodeRouteAdd, nodeRouteDelete, nodeRouteDump, nodeRouteList } from './own-routes.ts'
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

/**
 * The MTU in bytes of the pods' packets to other nodes: that of the device with the InternalIP.
 * When that address is on `lo` (routers announce it), or nowhere, the least MTU of the default
 * routes' devices; 1500 when there is none.
 */
export function podMtu(netlink: NetlinkSocket, own: NodeInfo, backend: Backend): number {
  const address = own.internalIPs[0]
  const index = address === undefined ? undefined : indexOfAddress(netlink, address)
  const indexes = index === undefined || index === LOOPBACK_INDEX ? defaultRouteIndexes(netlink) : [index]
  const uplink = Math.min(...(indexes.length === 0 ? [1500] : indexes.map(index => linkMtu(netlink, index))), 65535)
  if (backend !== 'vxlan') return uplink
  if (address === undefined) throw new Error(`Node ${own.name} has no InternalIP, which --backend vxlan needs`)
  return uplink - vxlanOverhead(familyOf(address))
}

/** The index of `lo` in every network namespace: see loopback_net_init() in the kernel. */
const LOOPBACK_INDEX = 1
/** After this time every next hop is looked up again. */
const LOOK_AGAIN_MS = 60_000

/**
 * The routes of one node. The wanted state is computed when Nodes have changed, when the kernel
 * lacks something, and once a minute. The kernel's state is read each time, and compared only when
 * the answer differs from the last one. So an idle cluster costs one dump of our routes.
 */
export class Network {
  readonly #hops = new Map<string, ReturnType<typeof nextHop>>()
  #lookedMs = Number.NEGATIVE_INFINITY
  #wanted: { key: string; routes: Wanted } | undefined
  /** The kernel's state when everything was as wanted. */
  #settled: { key: string; dump: Buffer[]; programmed: Programmed } | undefined

  /** Throws the kernel's error about the VXLAN device; a refused route is reported in `refused`. */
  program(netlink: NetlinkSocket, nodes: Nodes, own: NodeInfo, options: NetworkOptions): Programmed {
    if (options.backend !== 'vxlan') removeVxlan(netlink)
    if (options.backend === 'none') return { wanted: 0, installed: 0, refused: [], changed: removeRoutes(netlink) }
    const vxlan = options.backend === 'vxlan' ? ensureVxlan(netlink, own, options) : undefined
    const key = `${nodes.version} ${own.name} ${vxlan ?? ''}`
    const dump = nodeRouteDump(netlink)
    const isOld = performance.now() - this.#lookedMs > LOOK_AGAIN_MS
    const settled = this.#settled
    if (vxlan === undefined && !isOld && settled?.key === key && isSame(settled.dump, dump)) return settled.programmed
    const present = decodeOwnRoutes(dump)
    if (isOld || this.#isDoubtful(present)) {
      this.#hops.clear()
      this.#wanted = undefined
      this.#lookedMs = performance.now()
    }
    if (this.#wanted?.key !== key) this.#wanted = { key, routes: this.#work(netlink, nodes.all, own, vxlan) }
    const programmed = apply(netlink, this.#wanted.routes, present, vxlan)
    this.#settled = programmed.changed + programmed.refused.length === 0 ? { key, dump, programmed } : undefined
    return programmed
  }

  /** True when earlier lookups may be wrong by now: something is missing that was there. */
  #isDoubtful(present: NodeRoute[]): boolean {
    const { routes, refused } = this.#wanted?.routes ?? { routes: [], refused: [] }
    return refused.length > 0 || difference(routes, present, routeKey).add.length > 0
  }

  #work(netlink: NetlinkSocket, nodes: NodeInfo[], own: NodeInfo, vxlan: number | undefined): Wanted {
    if (vxlan !== undefined) return wantedByVxlan(nodes, own, vxlan)
    return wantedByHostGw(nodes, own, address => {
      if (!this.#hops.has(address)) this.#hops.set(address, nextHop(netlink, address))
      return this.#hops.get(address)
    })
  }
}

const isSame = (one: Buffer[], other: Buffer[]) => one.length === other.length && one.every((bytes, index) => bytes.equals(other[index]!))

/** Removes every route of our protocol; returns how many there were. */
export function removeRoutes(netlink: NetlinkSocket): number {
  const routes = nodeRouteList(netlink)
  for (const route of routes) nodeRouteDelete(netlink, route)
  return routes.length
}

/** True when the device existed. */
export function removeVxlan(netlink: NetlinkSocket): boolean {
  const present = vxlanGet(netlink, VXLAN_DEVICE)
  if (present !== undefined) linkDelete(netlink, present.index)
  return present !== undefined
}

/** The index of the device, which is made anew when it differs. */
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

/** A kernel without IPv6 refuses this, and has no such addresses. */
function withoutLinkLocal(netlink: NetlinkSocket, index: number): void {
  try {
    netlink.requestBatch([linkChange(index, { addrGenMode: 1 })])
  } catch (error) {
    if (!['EAFNOSUPPORT', 'EOPNOTSUPP'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error
  }
}

/**
 * The base address of each pod CIDR is on the device: the node sends to other nodes' pods from it,
 * so that their answers come back by VXLAN, too. That of a pod CIDR that the node had before is
 * taken off: the route to the node that has it now would lead to an address of this one.
 */
function ensureAddresses(netlink: NetlinkSocket, index: number, own: NodeInfo): void {
  const present = addressList(netlink, index).filter(({ local, prefix }) => prefix === bits(familyOf(local)))
  const bases = own.podCIDRs.map(addressPart)
  const stale = present.filter(({ local }) => !bases.includes(local))
  const missing = bases.filter(base => !present.some(({ local }) => local === base))
  const additions = missing.map(local => addressAddition(index, { local, prefix: bits(familyOf(local)) }))
  const requests = [...stale.map(address => addressDeletion(index, address)), ...additions]
  if (requests.length > 0) netlink.requestBatch(requests)
}

function apply(netlink: NetlinkSocket, wanted: Wanted, present: NodeRoute[], vxlan?: number): Programmed {
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
  const routes = difference(wanted.routes, present, routeKey)
  for (const route of routes.remove) attempt(`route ${route.dst}`, () => nodeRouteDelete(netlink, route))
  for (const route of routes.add) attempt(`route ${route.dst}`, () => nodeRouteAdd(netlink, route))
  const isChanged = routes.remove.length + routes.add.length > 0
  const keys = new Set((isChanged ? nodeRouteList(netlink) : present).map(routeKey))
  const installed = wanted.routes.filter(route => keys.has(routeKey(route))).length
  return { wanted: wanted.routes.length + wanted.refused.length, installed, changed, refused }
}
