/** The agent's state: links wanted (the records) against wires open. Start, ADD and repair are the same path. */
import { closeSync, existsSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { CniError, CODE } from '../cni/error.ts'
import { apply } from '../link/apply.ts'
import type { Attachment, LinkPlan } from '../link/plan.ts'
import { hostIfname } from '../link/plan.ts'
import { recordList, recordRead } from '../link/record.ts'
import { remove } from '../link/remove.ts'
import { type DoomedLink, deleteAndWait, LinkDeleter } from '../linux/link-deleter.ts'
import { inNetns } from '../linux/netns.ts'
import { attachTun, setOffloads } from '../linux/tun.ts'
import { type Ends, Wires, type WiresOptions } from '../wire/threads/wires.ts'
import { log } from './log.ts'
import type { ListedLink, Request, Status } from './protocol.ts'
import { unknownRequest } from './requests.ts'
import type { Caller } from './server.ts'

/** How long the devices of an agent that was killed may stay busy after its lock is free. */
const BUSY_MS = 5_000
const RETRY_MS = 10

/** Descriptors that outlive the program, by link. */
export interface Kept {
  links: (Attachment & { link: string; netns: string; fds: number[] })[]
}

type Open = Attachment & { netns: string }

export class Agent {
  readonly #dataDir: string
  readonly #options: Omit<WiresOptions, 'onGone'>
  #wires: Wires
  /** None without io_uring: then who deletes waits. */
  #deleter: LinkDeleter | undefined
  /** Each open wire, by the name of its node's end. */
  readonly #open = new Map<string, Open>()

  constructor(dataDir: string, options: Omit<WiresOptions, 'onGone'>) {
    this.#dataDir = dataDir
    this.#options = options
    this.#wires = this.#makeWires()
  }

  /** Whatever is about links. An ADD whose caller is gone is not carried out: the runtime has given up, and its DEL may have come before. */
  async perform(request: Request, caller: Caller): Promise<object> {
    switch (request.op) {
      case 'apply':
        if (caller.isGone()) throw new CniError(CODE.tryAgainLater, 'the plugin that asked for this link is gone')
        return { plan: await this.#apply(request.plan) }
      case 'remove':
        await this.#remove(request.attachment)
        return {}
      case 'list':
        return { links: this.#list() }
      default:
        throw unknownRequest(request)
    }
  }

  /** Opens the wire of every record that has none, closes every wire whose namespace has gone. */
  async reconcile(): Promise<void> {
    const until = Date.now() + BUSY_MS
    for (const plan of recordList(this.#dataDir)) {
      if (plan.host === undefined || this.#open.has(plan.host.ifname) || !existsSync(plan.netns)) continue
      try {
        this.#join(plan.host.ifname, plan, await reattach(plan, until))
      } catch (error) {
        log('wire not opened', { link: plan.host.ifname, containerID: plan.containerID, error: (error as Error).message })
      }
    }
    await this.sweep()
  }

  /** A descriptor opened inside a namespace pins it: let go of those whose path has vanished. Memory that no packet uses goes back to the kernel. */
  async sweep(): Promise<void> {
    for (const [link, { netns }] of this.#open) {
      if (existsSync(netns)) continue
      log('namespace gone, wire closed', { link, netns })
      await this.#close(link)
    }
    this.#wires.trim()
  }

  /** True while a link is on record whose far end is the node. */
  get hasLinks(): boolean {
    return this.#open.size > 0 || recordList(this.#dataDir).some(plan => plan.host !== undefined)
  }

  status(): Omit<Status, 'pid' | 'version' | 'outdated'> {
    const { mode, refusal, threads } = this.#wires
    return { wire: mode, refusals: refusal === undefined ? {} : { io_uring: refusal }, threads, links: this.#open.size, held: 0 }
  }

  /** Ends the threads and gives away every descriptor; packets wait in the devices' queues until adopt(), here or in the next program. */
  async freeze(): Promise<Kept> {
    const frozen = [...this.#open]
    this.#open.clear()
    const ends = await Promise.all(frozen.map(([link]) => this.#wires.release(link)))
    await this.close()
    return {
      links: frozen.map(([link, { network, containerID, ifname, netns }], index) => {
        const { podFd, hostFd } = ends[index]!
        return { link, network, containerID, ifname, netns, fds: [podFd, hostFd] }
      }),
    }
  }

  adopt(kept: Kept): void {
    this.#wires = this.#makeWires()
    for (const { link, fds, ...open } of kept.links) this.#join(link, open, { podFd: fds[0]!, hostFd: fds[1]! })
  }

  async close(): Promise<void> {
    await this.#wires.close()
    this.#deleter?.[Symbol.dispose]()
  }

  #makeWires(): Wires {
    const wires = new Wires({ ...this.#options, onGone: link => this.#gone(link) })
    this.#deleter = wires.mode === 'io_uring' ? new LinkDeleter() : undefined
    return wires
  }

  /** The plugin has seen that no such attachment exists: a record that is there now is of an agent that died over it. */
  async #apply(plan: LinkPlan): Promise<LinkPlan> {
    await this.#remove(plan)
    const applied = apply(this.#dataDir, plan)
    if (applied.wire !== undefined) this.#join(plan.host!.ifname, plan, applied.wire)
    return applied.plan
  }

  async #remove(attachment: Attachment): Promise<void> {
    const link = hostIfname(attachment)
    const ends = this.#open.delete(link) ? await this.#wires.release(link) : undefined
    try {
      const plan = recordRead(this.#dataDir, attachment)
      if (plan !== undefined) await remove(this.#dataDir, plan, this.#delete)
    } finally {
      if (ends !== undefined) for (const fd of [ends.podFd, ends.hostFd]) closeSync(fd)
    }
  }

  #list(): ListedLink[] {
    return [...this.#open].map(([link, open]) => ({ link, ...open, wire: 'thread' as const, ...this.#wires.counters(link) }))
  }

  readonly #delete = (link: DoomedLink) => this.#deleter?.delete(link) ?? deleteAndWait(link)

  #join(link: string, { network, containerID, ifname, netns }: Open, ends: Ends): void {
    this.#wires.add(link, ends)
    this.#open.set(link, { network, containerID, ifname, netns })
  }

  async #close(link: string): Promise<void> {
    if (this.#open.delete(link)) await this.#wires.remove(link)
  }

  #gone(link: string): void {
    log('device gone, wire closed', { link })
    void this.#close(link)
  }
}

/** Takes up again the devices of a link whose agent has ended: they persist, and so do the connections over them. */
async function reattach(plan: LinkPlan, until: number): Promise<Ends> {
  const hostFd = await whenFree(until, () => attachTun({ name: plan.host!.ifname, vnetHdr: true }))
  try {
    setOffloads(hostFd)
    const podFd = await whenFree(until, () => inNetns(plan.netns, () => attachTun({ name: plan.ifname, vnetHdr: true })))
    setOffloads(podFd)
    return { podFd, hostFd }
  } catch (error) {
    closeSync(hostFd)
    throw error
  }
}

/** A process that is killed lets go of its lock before it lets go of its devices: for 20 to 50 ms they are busy. */
async function whenFree(until: number, attach: () => number): Promise<number> {
  for (;;) {
    try {
      return attach()
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EBUSY' || Date.now() > until) throw error
    }
    await sleep(RETRY_MS)
  }
}
