/** The agent's state: links wanted (the records) against wires open. Start, ADD and repair are the same path. */
import { closeSync, existsSync } from 'node:fs'
import { apply } from '../link/apply.ts'
import type { Attachment, LinkPlan } from '../link/plan.ts'
import { hostIfname } from '../link/plan.ts'
import { recordList, recordRead } from '../link/record.ts'
import { remove } from '../link/remove.ts'
import { type DoomedLink, deleteAndWait, LinkDeleter } from '../linux/link-deleter.ts'
import { inNetns } from '../linux/netns.ts'
import { connectForFds, sendFds } from '../linux/pass-fds.ts'
import { attachTun, setOffloads } from '../linux/tun.ts'
import { type Ends, Wires, type WiresOptions } from '../wire/threads/wires.ts'
import { log } from './log.ts'
import type { Handed, HandedWire } from './protocol.ts'

export class Agent {
  readonly #dataDir: string
  readonly #wires: Wires
  /** None without io_uring: then who deletes waits. */
  readonly #deleter: LinkDeleter | undefined
  /** Namespace path of each open wire. */
  readonly #netns = new Map<string, string>()

  constructor(dataDir: string, wires: Omit<WiresOptions, 'onGone'>) {
    this.#dataDir = dataDir
    this.#wires = new Wires({ ...wires, onGone: id => this.#gone(id) })
    this.#deleter = this.#wires.mode === 'io_uring' ? new LinkDeleter() : undefined
  }

  /** Takes wires over from another process, as they are. */
  adopt(wires: (HandedWire & Ends)[]): void {
    for (const { link, netns, ...ends } of wires) this.#open(link, netns, ends)
  }

  /**
   * Lets go of every wire and returns what gives them and the lock to the process that listens at `socket`; packets wait in the devices' queues
   * meanwhile. That blocks until the other has received most of it, so it is to be called when the other knows that it comes.
   */
  async handOver(socket: string, lock: number): Promise<() => void> {
    const connection = connectForFds(socket)
    const handed = [...this.#netns]
    this.#netns.clear()
    const ends = await Promise.all(handed.map(([link]) => this.#wires.release(link)))
    const wires = handed.map(([link, netns], index) => ({ wire: { link, netns }, fds: [ends[index]!.podFd, ends[index]!.hostFd] }))
    const messages = [{ fds: [lock] }, ...wires].map(({ fds, ...handed }) => ({ text: JSON.stringify(handed satisfies Handed), fds }))
    return () => {
      sendFds(connection, messages)
      for (const { fds } of wires) for (const fd of fds) closeSync(fd)
    }
  }

  /** Opens the wire of every record that has none, closes every wire whose namespace has gone. */
  async reconcile(): Promise<void> {
    for (const plan of recordList(this.#dataDir)) {
      if (plan.host === undefined || this.#netns.has(plan.host.ifname) || !existsSync(plan.netns)) continue
      try {
        this.#open(plan.host.ifname, plan.netns, reattach(plan))
      } catch (error) {
        log('wire not opened', { link: plan.host.ifname, containerID: plan.containerID, error: (error as Error).message })
      }
    }
    await this.sweep()
  }

  /** A descriptor opened inside a namespace pins it: let go of those whose path, or whose path of this file name, has vanished. */
  async sweep(name?: string): Promise<void> {
    for (const [id, netns] of this.#netns) {
      if ((name !== undefined && !netns.endsWith(`/${name}`)) || existsSync(netns)) continue
      log('namespace gone, wire closed', { link: id, netns })
      await this.#close(id)
    }
  }

  /** The plugin has seen that no such attachment exists: a record that is there now is of an agent that died over it. */
  async apply(plan: LinkPlan): Promise<LinkPlan> {
    await this.remove(plan)
    const applied = apply(this.#dataDir, plan)
    if (applied.wire !== undefined) this.#open(plan.host!.ifname, plan.netns, applied.wire)
    return applied.plan
  }

  async remove(attachment: Attachment): Promise<void> {
    const link = hostIfname(attachment)
    const ends = this.#netns.delete(link) ? await this.#wires.release(link) : undefined
    try {
      const plan = recordRead(this.#dataDir, attachment)
      if (plan !== undefined) await remove(this.#dataDir, plan, this.#delete)
    } finally {
      if (ends !== undefined) for (const fd of [ends.podFd, ends.hostFd]) closeSync(fd)
    }
  }

  /** True while a link is on record whose far end is the node. */
  get hasLinks(): boolean {
    return this.#netns.size > 0 || recordList(this.#dataDir).some(plan => plan.host !== undefined)
  }

  status() {
    const { mode, refusal, threads } = this.#wires
    return { pid: process.pid, mode, ...(refusal === undefined ? {} : { refusal }), threads, links: this.#netns.size }
  }

  /** To be called now and then: memory that no packet uses goes back to the kernel. */
  trim(): void {
    this.#wires.trim()
  }

  list() {
    return [...this.#netns].map(([link, netns]) => ({ link, netns, ...this.#wires.counters(link) }))
  }

  async close(): Promise<void> {
    await this.#wires.close()
    this.#deleter?.[Symbol.dispose]()
  }

  readonly #delete = (link: DoomedLink) => this.#deleter?.delete(link) ?? deleteAndWait(link)

  #open(link: string, netns: string, ends: Ends): void {
    this.#wires.add(link, ends)
    this.#netns.set(link, netns)
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
