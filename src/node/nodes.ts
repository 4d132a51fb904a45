/**
 * The cluster's Nodes, with the fields that tunlinkd acts on. Updated by single events: a heartbeat
 * costs one comparison.
 */
import type { NodeInfo } from './node-info.ts'

export class Nodes {
  #byName = new Map<string, NodeInfo>()
  /** True when the API has listed all of them once. */
  known = false
  /**
   * Counts changes of names, pod CIDRs and InternalIPs, of which routes and masquerading are made.
   */
  version = 0

  get(name: string): NodeInfo | undefined {
    return this.#byName.get(name)
  }

  get all(): NodeInfo[] {
    return [...this.#byName.values()]
  }

  /** True when something that tunlinkd acts on has changed. */
  set(node: NodeInfo): boolean {
    const before = this.#byName.get(node.name)
    const isMoved = before === undefined || networkOf(before) !== networkOf(node)
    const isNew = isMoved || JSON.stringify(before.conditions) !== JSON.stringify(node.conditions)
    if (isNew) this.#byName.set(node.name, node)
    if (isMoved) this.version++
    return isNew
  }

  /** True when the Node was known. */
  delete(name: string): boolean {
    const was = this.#byName.delete(name)
    if (was) this.version++
    return was
  }

  /** Replaces all Nodes at once; true when something has changed. */
  replace(nodes: NodeInfo[]): boolean {
    const names = new Set(nodes.map(({ name }) => name))
    const gone = [...this.#byName.keys()].filter(name => !names.has(name)).map(name => this.delete(name))
    const changes = nodes.map(node => this.set(node))
    const isFirst = !this.known
    this.known = true
    return isFirst || gone.length > 0 || changes.includes(true)
  }
}

const networkOf = ({ podCIDRs, internalIPs }: NodeInfo) => JSON.stringify([podCIDRs, internalIPs])
