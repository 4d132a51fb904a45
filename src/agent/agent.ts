/**
 * What the agent keeps for links: the pods' TUNs held open, thread wires, and the deletion of
 * devices. Records say what is wanted; start, ADD and repair are the same path. Links with a kernel
 * wire carry packets whether or not there is an agent.
 */
import { closeSync, fstatSync } from 'node:fs'
import { CniError, CODE } from '../cni/error.ts'
import { parseNetConf } from '../cni/netconf.ts'
import { release } from '../ipam/lease.ts'
import type { Ends } from '../link/apply.ts'
import { ensureFirewall, firewallRefusal, watchFirewall } from '../link/firewall.ts'
import { firewallEntries } from '../link/host-end.ts'
import type { Keeper } from '../link/keeper.ts'
import { type Attachment, hostIfname, type LinkPlan } from '../link/plan.ts'
import { isBroken, recordList, recordRead } from '../link/record.ts'
import { namespaceIsThere } from '../link/remove.ts'
import { linkList } from '../linux/link.ts'
import { type DoomedLink, deleteAndWait, LinkDeleter } from '../linux/link-deleter.ts'
import { NetlinkSocket } from '../linux/netlink.ts'
import { inNetns, Netns } from '../linux/netns.ts'
import { attachTun, setOffloads } from '../linux/tun.ts'
import { NETLINK_NETFILTER } from '../linux/uapi.ts'
import { add } from '../verbs/add.ts'
import { removeAttachment, removeLink } from '../verbs/link.ts'
import { openNetns } from '../verbs/netns.ts'
import { kernelRefusal, remembered, usoRefusal } from '../wire/choose.ts'
import { Wires, type WiresOptions } from '../wire/threads/wires.ts'
import { log } from './log.ts'
import type { AgentStatus, Answers, Caller, ListedLink, Request } from './protocol.ts'
import { unknownRequest } from './requests.ts'

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
  /** The last piece of work on each link: two of one link never run at once. */
  readonly #busy = new Map<string, Promise<unknown>>()
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
        return this.#del(request)
      case 'open':
        await this.#exclusively(hostIfname(request.attachment), () => this.#open(request.attachment))
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
    return this.#exclusively(hostIfname(attachment), async () => {
      verifyCaller(caller)
      using netns = openNetns(pathOf(caller), environment)
      const isGone = () => isCallerGone() || !isThere(caller)
      return { result: await add({ environment, conf, stdin, started }, this, netns, isGone), warnings: conf.warnings }
    })
  }

  async #del({ attachment, lease, caller }: Request<'del'>): Promise<object> {
    await this.#exclusively(hostIfname(attachment), async () => {
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
        await this.#exclusively(hostIfname(plan), () => this.#open(plan))
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
   * gone for everybody else. Memory that no packet uses goes back to the kernel.
   */
  async sweep(): Promise<void> {
    for (const [link, { netns, netnsId, isSeen }] of this.#held) {
      if (!isSeen || namespaceIsThere(netns, netnsId)) continue
      log('namespace gone, link let go', { link, netns })
      await this.#exclusively(link, () => this.letGo(link))
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

  /** Restores what somebody has taken out of the node's firewall, for all links. */
  repairFirewall(): void {
    const entries = () => firewallEntries(this.#dataDir)
    if (entries().length === 0) return
    try {
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

  /**
   * Every link on record whose far end is the node, with the counters of the node's end: what that
   * received came from the pod.
   */
  list(): ListedLink[] {
    using node = new NetlinkSocket()
    const devices = new Map(linkList(node).map(device => [device.name, device.stats]))
    return recordList(this.#dataDir).plans.flatMap(({ host, network, containerID, ifname, netns, wire = 'thread' }) => {
      if (host === undefined) return []
      const link: ListedLink = { link: host.ifname, network, containerID, ifname, netns, wire, isOpen: this.#held.has(host.ifname) }
      const stats = devices.get(host.ifname)
      if (stats === undefined) return [link]
      const podToHost = { packets: stats.rxPackets, bytes: stats.rxBytes, drops: stats.rxDropped }
      return [{ ...link, podToHost, hostToPod: { packets: stats.txPackets, bytes: stats.txBytes, drops: stats.txDropped } }]
    })
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
    const plan = recordRead(this.#dataDir, attachment)
    if (plan === undefined || isBroken(plan) || plan.host === undefined || this.#held.has(link)) return
    await this.keep(plan, plan.wire === 'kernel' ? { podFd: attachPodEnd(plan) } : attachBothEnds(plan))
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
    await this.#exclusively(link, () => this.letGo(link))
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

  async #exclusively<T>(link: string, body: () => Promise<T>): Promise<T> {
    const before = this.#busy.get(link) ?? Promise.resolve()
    const work = before.then(body, body)
    const settled = work.catch(() => {})
    this.#busy.set(link, settled)
    try {
      return await work
    } finally {
      if (this.#busy.get(link) === settled) this.#busy.delete(link)
    }
  }
}

const pathOf = ({ pid, netnsFd }: Caller) => `/proc/${pid}/fd/${netnsFd}`

/**
 * False when the caller has ended (a zombie has no descriptors), or cannot be seen from this
 * process's PID namespace.
 */
function isThere(caller: Caller): boolean {
  try {
    using netns = new Netns(pathOf(caller))
    return fstatSync(netns.fd).ino === caller.ino
  } catch {
    return false
  }
}

/**
 * Thrown as an error with `unseen`: a caller that lives then does it itself, and one that does not
 * will not.
 */
function verifyCaller(caller: Caller): void {
  if (isThere(caller)) return
  const error = new CniError(CODE.tryAgainLater, `the agent cannot see the network namespace of process ${caller.pid}`)
  throw Object.assign(error, { unseen: true })
}

function attachPodEnd(plan: LinkPlan): number {
  const fd = inNetns(plan.netns, () => attachTun({ name: plan.ifname, vnetHdr: true }))
  try {
    setOffloads(fd)
    return fd
  } catch (error) {
    closeSync(fd)
    throw error
  }
}

/** The devices of a thread wire persist, and so do the connections over them. */
function attachBothEnds(plan: LinkPlan): Ends {
  const hostFd = attachTun({ name: plan.host!.ifname, vnetHdr: true })
  try {
    setOffloads(hostFd)
    return { hostFd, podFd: attachPodEnd(plan) }
  } catch (error) {
    closeSync(hostFd)
    throw error
  }
}
