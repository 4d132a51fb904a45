/**
 * The links that the agent holds: the pods' TUNs, kept open so that they show RUNNING, and thread
 * wires. The records say which links there should be; the agent's start, ADD and repair take links
 * up in the same way.
 */
import { closeSync } from 'node:fs'
import { CniError, CODE } from '../cni/error.ts'
import type { Ends } from '../link/apply.ts'
import type { Keeper } from '../link/keeper.ts'
import { type Attachment, hostIfname, type LinkPlan } from '../link/plan.ts'
import { isBroken, recordRead, refuseUnreadable } from '../link/record.ts'
import { namespaceIsThere } from '../link/remove.ts'
import type { DoomedLink } from '../linux/link-deleter.ts'
import { hasDevice } from '../linux/tun.ts'
import { Wires, type WiresOptions } from '../wire/threads/wires.ts'
import { Deletions } from './deletions.ts'
import { log } from './log.ts'
import { takeUp } from './take-up.ts'
import type { Turns } from './turns.ts'

/**
 * Waiting times, doubling, before a device is tried again: a process that is about to end may still
 * hold it.
 */
const FIRST_RETRY_MS = 20
const LAST_RETRY_MS = 10_000

/** A link that the agent holds. */
interface Held extends Pick<LinkPlan, 'netns' | 'netnsId'> {
  /** Of the pod's TUN; with a thread wire, of the node's TUN too. */
  fds: number[]
  /**
   * True when the namespace's path exists in this process's mount namespace: then its disappearance
   * can be seen.
   */
  isSeen: boolean
}

/** Links as a renewed process inherits them: their descriptors stay open. */
export interface Kept {
  links: ({ link: string } & Held)[]
}

export class HeldLinks implements Keeper {
  readonly #dataDir: string
  readonly #options: Omit<WiresOptions, 'onGone'>
  /** Two tasks on one link never run at once. */
  readonly #turns: Turns
  readonly #held = new Map<string, Held>()
  readonly #deletions = new Deletions()
  #wires: Wires
  #retry: NodeJS.Timeout | undefined
  #retryMs = FIRST_RETRY_MS

  constructor(dataDir: string, wires: Omit<WiresOptions, 'onGone'>, turns: Turns) {
    this.#dataDir = dataDir
    this.#options = wires
    this.#turns = turns
    this.#wires = this.#makeWires()
  }

  /** Carries the packets of thread wires. */
  get wires(): Pick<Wires, 'mode' | 'refusal' | 'threads' | 'serves'> {
    return this.#wires
  }

  get size(): number {
    return this.#held.size
  }

  has(link: string): boolean {
    return this.#held.has(link)
  }

  /**
   * Takes up those of `plans` that are not held. Refused devices, and the records that could not be
   * read, are tried again later, by a call of `again`.
   */
  async takeUp(plans: LinkPlan[], unreadable: number, again: () => void): Promise<void> {
    let refused = unreadable
    for (const plan of plans.filter(plan => plan.host !== undefined && !this.#held.has(plan.host.ifname))) {
      try {
        if (!namespaceIsThere(plan.netns, plan.netnsId)) continue
        await this.#turns.take(hostIfname(plan), () => this.open(plan))
      } catch (error) {
        refused++
        log('link not taken up', { link: hostIfname(plan), containerID: plan.containerID, error: (error as Error).message })
      }
    }
    if (refused > 0) return this.tryLater(again)
    this.#retryMs = FIRST_RETRY_MS
    clearTimeout(this.#retry)
  }

  /** Calls `again` later, each time after a longer while. */
  tryLater(again: () => void): void {
    this.#retryMs = Math.min(2 * this.#retryMs, LAST_RETRY_MS)
    clearTimeout(this.#retry)
    this.#retry = setTimeout(again, this.#retryMs)
  }

  /** Takes up a link on record by the names of its devices, after all other work on that link. */
  async open(attachment: Attachment): Promise<void> {
    const link = hostIfname(attachment)
    await this.#letGoIfStale(link)
    const plan = recordRead(this.#dataDir, attachment)
    refuseUnreadable(plan)
    if (plan === undefined || isBroken(plan) || plan.host === undefined || this.#held.has(link)) return
    await this.#take(plan, takeUp(plan))
  }

  /** Resolves when the link's packets are carried. Throws CniError 11 when no thread does so. */
  async carried(link: string): Promise<void> {
    try {
      await this.#wires.carried(link)
    } catch (error) {
      throw new CniError(CODE.tryAgainLater, (error as Error).message, 'see the limits of kernel.threads-max and of the cgroup')
    }
  }

  /**
   * A descriptor that was opened inside a namespace keeps the namespace alive. So descriptors are
   * closed when the namespace is gone for everybody else, or when their device is gone. Memory that
   * no packet uses is given back to the kernel.
   */
  async sweep(): Promise<void> {
    for (const [link, held] of this.#held) {
      try {
        await this.#sweepOne(link, held)
      } catch (error) {
        log('link not looked at', { link, error: (error as Error).message })
      }
    }
    this.#wires.trim()
  }

  async #sweepOne(link: string, { fds, netns, netnsId, isSeen }: Held): Promise<void> {
    if (isSeen && !namespaceIsThere(netns, netnsId)) {
      log('namespace gone, link let go', { link, netns })
      await this.#turns.take(link, () => this.letGo(link))
    } else if (!fds.every(hasDevice)) {
      log('device gone, link let go', { link, netns })
      await this.#turns.take(link, () => this.#letGoIfStale(link))
    }
  }

  /**
   * While an agent starts, a plugin that found no agent may remove a link that this agent already
   * holds. A thread notices that by itself; a kernel wire has none.
   */
  async #letGoIfStale(link: string): Promise<void> {
    if (this.#held.get(link)?.fds.every(hasDevice) === false) await this.letGo(link)
  }

  async keep(plan: LinkPlan, ends: Ends): Promise<void> {
    await this.#take(plan, ends)
    if (plan.host !== undefined) await this.carried(plan.host.ifname)
  }

  async #take(plan: LinkPlan, ends: Ends): Promise<void> {
    // the device persists, for whoever attaches
    if (plan.host === undefined) return closeSync(ends.podFd)
    const { netns, netnsId } = plan
    const fds = ends.hostFd === undefined ? [ends.podFd] : [ends.podFd, ends.hostFd]
    try {
      await this.letGo(plan.host.ifname) // a device that was deleted without this agent
      this.#hold(plan.host.ifname, { fds, netns, ...(netnsId ? { netnsId } : {}), isSeen: namespaceIsThere(netns, netnsId) })
    } catch (error) {
      for (const fd of fds) closeSync(fd)
      throw error
    }
  }

  async letGo(link: string): Promise<void> {
    const held = this.#held.get(link)
    if (held === undefined) return
    this.#held.delete(link)
    await this.#wires.release(link)
    for (const fd of held.fds) closeSync(fd)
  }

  deleteLink(link: DoomedLink): Promise<void> {
    return this.#deletions.delete(link)
  }

  /**
   * Stops the threads and hands over every descriptor: packets wait in the devices' queues until
   * adopt(), in this process or after execve(2).
   */
  async freeze(): Promise<Kept> {
    clearTimeout(this.#retry)
    const links = [...this.#held].map(([link, held]) => ({ link, ...held }))
    this.#held.clear()
    await Promise.all(links.map(({ link }) => this.#wires.release(link)))
    await this.#wires.close()
    return { links }
  }

  /** Must be called before reconcile(). */
  adopt({ links }: Kept): void {
    this.#wires = this.#makeWires()
    for (const { link, ...held } of links) this.#hold(link, held)
  }

  async close(): Promise<void> {
    clearTimeout(this.#retry)
    for (const link of [...this.#held.keys()]) await this.letGo(link)
    await this.#wires.close()
    this.#deletions[Symbol.dispose]()
  }

  #makeWires(): Wires {
    return new Wires({ ...this.#options, onGone: link => void this.#gone(link) })
  }

  #hold(link: string, held: Held): void {
    const [podFd, hostFd] = held.fds
    if (hostFd !== undefined) this.#wires.add(link, { podFd: podFd!, hostFd })
    this.#held.set(link, held)
  }

  async #gone(link: string): Promise<void> {
    log('device gone, wire closed', { link })
    await this.#turns.take(link, () => this.letGo(link))
  }
}
