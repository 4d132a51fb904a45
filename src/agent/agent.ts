/**
 * What the agent keeps for links: the pods' TUNs held open, thread wires, and the deletion of
 * devices. Records say what is wanted; start, ADD and repair are the same path. Links with a kernel
 * wire carry packets whether or not there is an agent.
 */
import { closeSync } from 'node:fs'
import { parseNetConf } from '../cni/netconf.ts'
import { release } from '../ipam/lease.ts'
import type { Ends } from '../link/apply.ts'
import { ensureFirewall, firewallRefusal, watchFirewall } from '../link/firewall.ts'
import { firewallEntries } from '../link/host-end.ts'
import type { Keeper } from '../link/keeper.ts'
import { type Attachment, hostIfname, type LinkPlan } from '../link/plan.ts'
import { isBroken, recordList, recordRead, refuseUnreadable } from '../link/record.ts'
import { namespaceIsThere } from '../link/remove.ts'
import { type DoomedLink, deleteAndWait, LinkDeleter } from '../linux/link-deleter.ts'
import { NetlinkSocket } from '../linux/netlink.ts'
import { Netns } from '../linux/netns.ts'
import { hasDevice } from '../linux/tun.ts'
import { NETLINK_NETFILTER } from '../linux/uapi.ts'
import { add } from '../verbs/add.ts'
import { removeAttachment, removeLink } from '../verbs/link.ts'
import { openNetns } from '../verbs/netns.ts'
import { kernelRefusal, remembered, usoRefusal } from '../wire/choose.ts'
import { Wires, type WiresOptions } from '../wire/threads/wires.ts'
import { isThere, pathOf, verifyCaller } from './callers.ts'
import { listLinks } from './listed.ts'
import { log } from './log.ts'
import type { AgentStatus, Answers, ListedLink, Request } from './protocol.ts'
import { unknownRequest, verifyAttachment } from './requests.ts'
import { takeUp } from './take-up.ts'
import { Turns } from './turns.ts'

/**
 * A device may be held by a process that is about to end: waiting times until the next try,
 * doubling.
 */
const FIRST_RETRY_MS = 20
const LAST_RETRY_MS = 10_000

/** Why the node's firewall cannot be set up, masquerade included. */
const nftRefusal = remembered(() => firewallRefusal(true))

/** A link that the agent holds. */
interface Held extends Pick<LinkPlan, 'netns' | 'netnsId'> {
  /** Of the pod's TUN; with a thread wire, also of the node's. */
  fds: number[]
  /**
   * The path of its namespace leads somewhere in this process's mount namespace: so one can see
   * when it is gone.
   */
  isSeen: boolean
}

/** Links as a renewed process gets them: their descriptors stay open. */
export interface Kept {
  links: ({ link: string } & Held)[]
}

export class Agent implements Keeper {
  readonly #dataDir: string
  readonly #options: Omit<WiresOptions, 'onGone'>
  #wires: Wires
  readonly #held = new Map<string, Held>()
  /** Two pieces of work on one link never run at once. */
  readonly #turns = new Turns()
  #deleter: LinkDeleter | undefined
  #canDeleteWithoutWaiting = true
  #firewallWatch: Disposable | undefined
  #retry: NodeJS.Timeout | undefined
  #retryMs = FIRST_RETRY_MS

  constructor(dataDir: string, wires: Omit<WiresOptions, 'onGone'>) {
    this.#dataDir = dataDir
    this.#options = wires
    this.#wires = this.#makeWires()
  }

  /** Answers what is about links. Throws CniError. */
  async perform(request: Request, isCallerGone: () => boolean): Promise<object> {
    switch (request.op) {
      case 'add':
        return this.#add(request, isCallerGone)
      case 'del':
        verifyAttachment(request.attachment)
        return this.#del(request)
      case 'open':
        verifyAttachment(request.attachment)
        await this.#turns.take(hostIfname(request.attachment), () => this.#open(request.attachment))
        return {}
      case 'list':
        return { links: this.list() }
      default:
        throw unknownRequest(request)
    }
  }

  async #add({ environment, stdin, caller, started }: Request<'add'>, isCallerGone: () => boolean): Promise<Answers['add']> {
    const conf = parseNetConf(stdin, environment)
    const attachment = { network: conf.name, containerID: environment.containerID, ifname: conf.ifName ?? environment.ifname }
    return this.#turns.take(hostIfname(attachment), async () => {
      verifyCaller(caller)
      using netns = openNetns(pathOf(caller), environment)
      const isGone = () => isCallerGone() || !isThere(caller)
      return { result: await add({ environment, conf, stdin, started }, this, netns, isGone), warnings: conf.warnings }
    })
  }

  async #del({ attachment, lease, caller }: Request<'del'>): Promise<object> {
    await this.#turns.take(hostIfname(attachment), async () => {
      const opened = caller !== undefined && isThere(caller) ? new Netns(pathOf(caller)) : undefined
      try {
        if (lease)
          await removeAttachment(attachment, this.#dataDir, this, () => release(this.#dataDir, attachment.network, attachment), opened)
        else await removeLink(attachment, this.#dataDir, this, opened)
      } finally {
        opened?.[Symbol.dispose]()
      }
    })
    return {}
  }

  /**
   * Takes up every link on record that is not held, lets go of those whose namespace is gone, and
   * restores the firewall.
   */
  async reconcile(): Promise<void> {
    const { plans, broken } = recordList(this.#dataDir)
    for (const { file, reason } of broken) log('record cannot be used', { file, reason })
    this.#watchFirewall()
    this.repairFirewall()
    let refused = 0
    for (const plan of plans.filter(plan => plan.host !== undefined && !this.#held.has(plan.host.ifname))) {
      if (!namespaceIsThere(plan.netns, plan.netnsId)) continue
      try {
        await this.#turns.take(hostIfname(plan), () => this.#open(plan))
      } catch (error) {
        refused++
        log('link not taken up', { link: hostIfname(plan), containerID: plan.containerID, error: (error as Error).message })
      }
    }
    this.#retryMs = refused === 0 ? FIRST_RETRY_MS : Math.min(2 * this.#retryMs, LAST_RETRY_MS)
    clearTimeout(this.#retry)
    if (refused > 0) this.#retry = setTimeout(() => void this.reconcile(), this.#retryMs)
    await this.sweep()
  }

  /**
   * A descriptor opened inside a namespace keeps that alive: let go of those whose namespace is
   * gone for everybody else, and of those whose device is gone. Memory that no packet uses goes
   * back to the kernel.
   */
  async sweep(): Promise<void> {
    for (const [link, held] of this.#held) {
      const { netns, netnsId, isSeen } = held
      if (isSeen && !namespaceIsThere(netns, netnsId)) {
        log('namespace gone, link let go', { link, netns })
        await this.#turns.take(link, () => this.letGo(link))
      } else if (!held.fds.every(hasDevice)) {
        log('device gone, link let go', { link, netns })
        await this.#turns.take(link, () => this.#letGoIfStale(link))
      }
    }
    this.#wires.trim()
  }

  /** Without it, as on a kernel without nf_tables, links that need no firewall are served still. */
  #watchFirewall(): void {
    try {
      this.#firewallWatch ??= watchFirewall(() => this.repairFirewall())
    } catch (error) {
      log('firewall not watched', { error: (error as Error).message })
    }
  }

  /**
   * A plugin that found no agent may take out a link while an agent starts, which still holds it
   * then. A kernel wire has no thread that would notice.
   */
  async #letGoIfStale(link: string): Promise<void> {
    if (this.#held.get(link)?.fds.every(hasDevice) === false) await this.letGo(link)
  }

  /** Restores what somebody has taken out of the node's firewall, for all links. */
  repairFirewall(): void {
    const entries = () => firewallEntries(this.#dataDir)
    try {
      if (entries().length === 0) return
      using netfilter = new NetlinkSocket(NETLINK_NETFILTER)
      if (ensureFirewall(netfilter, entries)) log('firewall restored', { links: entries().length })
    } catch (error) {
      log('firewall not restored', { error: (error as Error).message })
    }
  }

  async keep(plan: LinkPlan, ends: Ends): Promise<void> {
    if (plan.host === undefined) return closeSync(ends.podFd) // it persists, for whoever attaches
    const { netns, netnsId } = plan
    const fds = ends.hostFd === undefined ? [ends.podFd] : [ends.podFd, ends.hostFd]
    try {
      await this.letGo(plan.host.ifname) // of a device that went without this agent
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

  async deleteLink(link: DoomedLink): Promise<void> {
    const deleter = this.#openDeleter()
    await (deleter?.delete(link) ?? deleteAndWait(link))
  }

  /** True while a link is on record whose far end is the node. */
  get hasLinks(): boolean {
    return this.#held.size > 0 || recordList(this.#dataDir).plans.some(plan => plan.host !== undefined)
  }

  status(): Omit<AgentStatus, 'pid' | 'version' | 'outdated'> {
    const kernel = kernelRefusal()
    const { mode, refusal, threads } = this.#wires
    const refusals = { kernel, io_uring: refusal, uso: usoRefusal(), firewall: nftRefusal() }
    const links = this.list()
    return {
      wire: kernel === undefined ? 'kernel' : mode,
      refusals: Object.fromEntries(Object.entries(refusals).filter(([, why]) => why !== undefined)),
      threadMode: mode,
      threads,
      links: links.length,
      held: this.#held.size,
      unserved: links.filter(({ wire, link }) => wire === 'thread' && !this.#wires.serves(link)).length,
    }
  }

  list(): ListedLink[] {
    return listLinks(this.#dataDir, link => this.#held.has(link))
  }

  /**
   * Stops the threads and gives away every descriptor: packets wait in the devices until adopt(),
   * here or in the next program.
   */
  async freeze(): Promise<Kept> {
    clearTimeout(this.#retry)
    const links = [...this.#held].map(([link, held]) => ({ link, ...held }))
    this.#held.clear()
    await Promise.all(links.map(({ link }) => this.#wires.release(link)))
    await this.#wires.close()
    this.#stopWatching()
    return { links }
  }

  /** Before reconcile(). */
  adopt({ links }: Kept): void {
    this.#wires = this.#makeWires()
    for (const { link, ...held } of links) this.#hold(link, held)
  }

  async close(): Promise<void> {
    clearTimeout(this.#retry)
    for (const link of [...this.#held.keys()]) await this.letGo(link)
    await this.#wires.close()
    this.#stopWatching()
    this.#deleter?.[Symbol.dispose]()
  }

  #stopWatching(): void {
    this.#firewallWatch?.[Symbol.dispose]()
    this.#firewallWatch = undefined
  }

  /** Takes up a link on record by the names of its devices. */
  async #open(attachment: Attachment): Promise<void> {
    const link = hostIfname(attachment)
    await this.#letGoIfStale(link)
    const plan = recordRead(this.#dataDir, attachment)
    refuseUnreadable(plan)
    if (plan === undefined || isBroken(plan) || plan.host === undefined || this.#held.has(link)) return
    await this.keep(plan, takeUp(plan))
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

  #openDeleter(): LinkDeleter | undefined {
    if (this.#deleter !== undefined || !this.#canDeleteWithoutWaiting) return this.#deleter
    try {
      this.#deleter = new LinkDeleter()
    } catch {
      this.#canDeleteWithoutWaiting = false // no io_uring: who deletes waits
    }
    return this.#deleter
  }
}
