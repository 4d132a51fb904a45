/**
 * The networks in which pods keep their own address, and the nftables table that translates packets
 * to all others.
 */
import { hostCidr } from '../address.ts'
import type { NetlinkSocket } from '../linux/netlink.ts'
import { generation } from '../linux/nfnetlink.ts'
import { clusterTable, deleteClusterTable, setClusterTable } from './cluster-table.ts'
import type { NodeInfo } from './node-info.ts'
import type { Backend } from './routes.ts'

/** Multicast and link-local: a translated source would be wrong there. */
const NEVER = ['224.0.0.0/4', '169.254.0.0/16', 'ff00::/8', 'fe80::/10']

/**
 * The pods of all nodes; with host-gw the nodes, too, which have a route back to the pod. With
 * vxlan a node's answer would leave by another device than the question arrived by, and the network
 * in between does not know the pods' addresses: so nodes see the address of the pod's node.
 */
export function inside(nodes: NodeInfo[], backend: Backend): string[] {
  const pods = nodes.flatMap(node => node.podCIDRs)
  const hosts = backend === 'host-gw' ? nodes.flatMap(node => node.internalIPs) : []
  return [...new Set([...pods, ...hosts.map(hostCidr), ...NEVER])].sort()
}

/**
 * The table as last set: it is written again only when something changed, or when somebody took
 * anything out of it. While nobody changes any table, a look costs one question.
 */
export class Masquerade {
  #set = ''
  /** The kernel's table, and the generation of all tables in which it was so. */
  #seen: { table: Buffer; generation: number } | undefined

  /** True when the table had to be written. */
  apply(netfilter: NetlinkSocket, own: NodeInfo, insideCIDRs: string[], on: boolean): boolean {
    if (!on) return deleteClusterTable(netfilter)
    const wanted = JSON.stringify([own.podCIDRs, insideCIDRs])
    if (wanted === this.#set && this.#isIntact(netfilter)) return false
    const before = generation(netfilter)
    setClusterTable(netfilter, own.podCIDRs, insideCIDRs)
    this.#set = wanted
    const table = clusterTable(netfilter)
    // where somebody else has changed a table meanwhile, ours is written once more the next time
    const isOurs = table !== undefined && generation(netfilter) === before + 1
    this.#seen = isOurs ? { table, generation: before + 1 } : undefined
    return true
  }

  #isIntact(netfilter: NetlinkSocket): boolean {
    if (this.#seen === undefined) return false
    const now = generation(netfilter)
    if (now === this.#seen.generation) return true
    const isIntact = clusterTable(netfilter)?.equals(this.#seen.table) ?? false
    if (isIntact) this.#seen.generation = now
    return isIntact
  }
}
