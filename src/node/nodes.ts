/**
 * The cluster's Nodes, as far as tunlinkd acts on them. Kept up by single events: a heartbeat costs
 * one comparison.
 */
import type { NodeInfo } from './node-info.ts'

export class Nodes {
  #byName = new Map<string, NodeInfo>()
  /** The API has told all of them once. */
  known = false
  /**
   * Counts the changes of names, pod CIDRs and InternalIPs: what routes and masquerade are made
   * from.
   */
  version = 0

  get(name: string): NodeInfo | undefined {
    return this.#byName.get(name)
  }

  get all(): NodeInfo[] {
    return [...this.#byName.values()]
  }

  /** True when it says something new that tunlinkd acts on. */
  set(node: NodeInfo): boolean {
    const before = this.#byName.get(node.name)
    const isMoved = before === undefined || networkOf(before) !== networkOf(node)
    const isNew = isMoved || JSON.stringify(before.conditions) !== JSON.stringify(node.conditions)
    if (isNew) this.#byName.set(node.name, node)
    if (isMoved) this.version++
    return isNew
  }

  /** True when it was there. */
  delete(name: string): boolean {
    const was = this.#byName.delete(name)
    if (was) this.version++
    return was
  }

  /** All of them at once; true when something has changed. */
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
