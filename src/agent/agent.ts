/** The agent's state: links wanted (the records) against wires open. Start, ADD and repair are the same path. */
import { closeSync, existsSync } from 'node:fs'
import { apply } from '../link/apply.ts'
import type { Attachment, LinkPlan } from '../link/plan.ts'
import { hostIfname } from '../link/plan.ts'
import { recordList, recordRead } from '../link/record.ts'
import { remove } from '../link/remove.ts'
import { inNetns } from '../linux/netns.ts'
import { attachTun, setOffloads } from '../linux/tun.ts'
import { Wires } from '../wire/wires.ts'
import { log } from './log.ts'

export class Agent {
  readonly #dataDir: string
  readonly #wires: Wires
  /** Namespace path of each open wire. */
  readonly #netns = new Map<string, string>()

  constructor(dataDir: string, workerEntry: string | URL) {
    this.#dataDir = dataDir
    this.#wires = new Wires({ entry: workerEntry, onGone: id => this.#gone(id) })
  }

  /** Opens the wire of every record that has none, closes every wire whose namespace has gone. */
  async reconcile(): Promise<void> {
    for (const plan of recordList(this.#dataDir)) {
      if (plan.host === undefined || this.#netns.has(plan.host.ifname) || !existsSync(plan.netns)) continue
      try {
        this.#open(plan, reattach(plan))
      } catch (error) {
        log('wire not opened', { link: plan.host.ifname, containerID: plan.containerID, error: (error as Error).message })
      }
    }
    await this.sweep()
  }

  /** A descriptor opened inside a namespace pins it: let go of those whose path has vanished. */
  async sweep(): Promise<void> {
    for (const [id, netns] of this.#netns) {
      if (existsSync(netns)) continue
      log('namespace gone, wire closed', { link: id, netns })
      await this.#close(id)
    }
  }

  /** The plugin has seen that no such attachment exists: a record that is there now is of an agent that died over it. */
  async apply(plan: LinkPlan): Promise<LinkPlan> {
    await this.remove(plan)
    const applied = apply(this.#dataDir, plan)
    if (applied.wire !== undefined) this.#open(applied.plan, applied.wire)
    return applied.plan
  }

  async remove(attachment: Attachment): Promise<void> {
    await this.#close(hostIfname(attachment))
    const plan = recordRead(this.#dataDir, attachment)
    if (plan !== undefined) remove(this.#dataDir, plan)
  }

  /** Links on record whose far end is the node. */
  get links(): number {
    return recordList(this.#dataDir).filter(plan => plan.host !== undefined).length
  }

  status() {
    return { pid: process.pid, mode: this.#wires.mode, links: this.#netns.size }
  }

  list() {
    return [...this.#netns].map(([link, netns]) => ({ link, netns, ...this.#wires.counters(link) }))
  }

  async close(): Promise<void> {
    await this.#wires.close()
  }

  #open(plan: LinkPlan, { podFd, hostFd }: { podFd: number; hostFd: number }): void {
    this.#wires.add(plan.host!.ifname, { podFd, hostFd })
    this.#netns.set(plan.host!.ifname, plan.netns)
  }

  async #close(id: string): Promise<void> {
    if (this.#netns.delete(id)) await this.#wires.remove(id)
  }

  #gone(id: string): void {
    log('device gone, wire closed', { link: id })
    void this.#close(id)
  }
}

/** Takes up again the devices of a link whose agent has ended: they persist, and so do the connections over them. */
function reattach(plan: LinkPlan): { podFd: number; hostFd: number } {
  const hostFd = attachTun({ name: plan.host!.ifname, vnetHdr: true })
  try {
    setOffloads(hostFd)
    const podFd = inNetns(plan.netns, () => attachTun({ name: plan.ifname, vnetHdr: true }))
    setOffloads(podFd)
    return { podFd, hostFd }
  } catch (error) {
    closeSync(hostFd)
    throw error
  }
}
