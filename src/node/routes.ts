/**
 * The routes, neighbours and forwarding entries that this node should have for the pods of other
 * nodes: pure functions, testable without a kernel. program.ts writes the differences into the
 * kernel.
 */

import { addressPart, type Family, familyOf, parseAddress } from '../address.ts'
import { fnv1a } from '../fnv.ts'
import type { Neighbour } from '../linux/neighbour.ts'
import type { NodeRoute } from '../linux/node-route.ts'
import { firstOf, type NodeInfo } from './node-info.ts'

export type Backend = 'host-gw' | 'vxlan' | 'none'

export interface Wanted {
  routes: NodeRoute[]
  /** Next hops on the VXLAN device, with their MACs. */
  neighbours: Neighbour[]
  /** The underlay address to which the VXLAN device sends frames for a MAC. */
  fdb: Neighbour[]
  /** Nodes whose pods cannot be reached, and why, in words for an operator. */
  refused: { node: string; reason: string }[]
}

/** How an underlay address is reached: see nextHop(). */
export type NextHop = (address: string) => { index: number; gw?: string } | undefined

/**
 * The MAC of a node's VTEP: locally administered, "t" and "l" for us, then the IPv4 address or 32
 * bits of a hash of the IPv6 one.
 */
export function vtepMac(address: string): string {
  const tail = familyOf(address) === 4 ? parseAddress(address)!.bytes : Buffer.from(fnv1a(address).slice(8), 'hex')
  return ['02', '74', ...[...tail].map(byte => byte.toString(16).padStart(2, '0'))].join(':')
}

/** host-gw: the pods of each node via its InternalIP, which must be on a link that both share. */
export function wantedByHostGw(nodes: NodeInfo[], own: NodeInfo, nextHop: NextHop): Wanted {
  const wanted: Wanted = { routes: ownRoutes(own), neighbours: [], fdb: [], refused: [] }
  forEachCidr(nodes, own, wanted, (node, cidr, family) => {
    const gw = firstOf(family, node.internalIPs)
    if (gw === undefined) return `pod CIDR ${cidr} has no next hop: the node has no IPv${family} InternalIP`
    const hop = nextHop(gw)
    if (hop === undefined) return `no route leads to its InternalIP ${gw}`
    if (hop.gw !== undefined)
      return `its InternalIP ${gw} is not on a link shared with this node (it is behind ${hop.gw}): "host-gw" cannot route its pods, use --backend vxlan`
    wanted.routes.push({ dst: cidr, gw, index: hop.index })
    return undefined
  })
  return wanted
}

/**
 * vxlan: the pods of each node via its VTEP. Neighbours and forwarding entries are set for it, so
 * nothing is ever flooded.
 */
export function wantedByVxlan(nodes: NodeInfo[], own: NodeInfo, index: number): Wanted {
  const wanted: Wanted = { routes: ownRoutes(own), neighbours: [], fdb: [], refused: [] }
  const underlay = familyOf(own.internalIPs[0]!)
  const addressOfMac = new Map<string, string>()
  forEachCidr(nodes, own, wanted, (node, cidr) => {
    const address = firstOf(underlay, node.internalIPs)
    if (address === undefined) return `it has no IPv${underlay} InternalIP, which this node's VXLAN packets need`
    const mac = vtepMac(address)
    const other = addressOfMac.get(mac)
    if (other !== undefined && other !== address) return `its VTEP address ${mac} is that of ${other} too`
    if (other === undefined) wanted.fdb.push({ mac, address })
    addressOfMac.set(mac, address)
    wanted.neighbours.push({ mac, address: addressPart(cidr) })
    wanted.routes.push({ dst: cidr, gw: addressPart(cidr), index, onlink: true })
    return undefined
  })
  return wanted
}

/**
 * Addresses that no pod of this node has are unreachable: without these routes such packets would
 * follow the default route, and a router might send them back.
 */
const ownRoutes = (own: NodeInfo): NodeRoute[] => own.podCIDRs.map(dst => ({ dst }))

/**
 * Calls `route` for each pod CIDR of each other node, in the order of their names; collects the
 * reasons that it returns.
 */
function forEachCidr(
  nodes: NodeInfo[],
  own: NodeInfo,
  wanted: Wanted,
  route: (node: NodeInfo, cidr: string, family: Family) => string | undefined,
): void {
  const owners = new Map(own.podCIDRs.map(cidr => [cidr, own.name]))
  const others = nodes.filter(({ name }) => name !== own.name).sort((a, b) => (a.name < b.name ? -1 : 1))
  for (const node of others) {
    for (const cidr of node.podCIDRs) {
      const owner = owners.get(cidr)
      const reason = owner === undefined ? route(node, cidr, familyOf(cidr)) : `its pod CIDR ${cidr} is that of ${owner} too`
      owners.set(cidr, owner ?? node.name)
      if (reason !== undefined) wanted.refused.push({ node: node.name, reason })
    }
  }
}

/** The members of `present` that are not wanted, and those of `wanted` that are missing. */
export function difference<T extends object>(wanted: T[], present: T[], key: (item: T) => string): { remove: T[]; add: T[] } {
  const wantedKeys = new Set(wanted.map(key))
  const presentKeys = new Set(present.map(key))
  return { remove: present.filter(item => !wantedKeys.has(key(item))), add: wanted.filter(item => !presentKeys.has(key(item))) }
}

export const routeKey = ({ dst, gw, index }: NodeRoute) => `${dst} ${gw ?? ''} ${index ?? ''}`
export const neighbourKey = ({ address, mac }: Neighbour) => `${address} ${mac}`
