/**
 * What the agent does with links: ADD and DEL, taking up links that exist, and its status. Work on
 * one link is done in order. Links with a kernel wire carry packets with or without an agent.
 */
import { parseNetConf } from '../cni/netconf.ts'
import { release } from '../ipam/lease.ts'
import { firewallRefusal } from '../link/firewall.ts'
import { hostIfname } from '../link/plan.ts'
import { recordList } from '../link/record.ts'
import { Netns } from '../linux/netns.ts'
import { add } from '../verbs/add.ts'
import { removeAttachment, removeLink } from '../verbs/link.ts'
import { openNetns } from '../verbs/netns.ts'
import { kernelRefusal, remembered, usoRefusal } from '../wire/choose.ts'
import type { WiresOptions } from '../wire/threads/wires.ts'
import { isThere, pathOf, verifyCaller } from './callers.ts'
import { FirewallGuard } from './firewall-guard.ts'
import { HeldLinks, type Kept } from './held-links.ts'
import { listLinks } from './listed.ts'
import { log } from './log.ts'
import type { AgentStatus, Answers, ListedLink, Request } from './protocol.ts'
import { unknownRequest } from './requests.ts'
import { Turns } from './turns.ts'

/** Why the node's firewall cannot be set up, masquerading included; undefined when it can. */
const nftRefusal = remembered(() => firewallRefusal(true))

export class Agent {
  readonly #dataDir: string
  readonly #turns = new Turns()
  readonly #links: HeldLinks
  readonly #guard: FirewallGuard

  constructor(dataDir: string, wires: Omit<WiresOptions, 'onGone'>) {
    this.#dataDir = dataDir
    this.#links = new HeldLinks(dataDir, wires, this.#turns)
    this.#guard = new FirewallGuard(dataDir)
  }

  /** Answers requests about links. Throws CniError. */
  async perform(request: Request, isCallerGone: () => boolean): Promise<object> {
    switch (request.op) {
      case 'add':
        return this.#add(request, isCallerGone)
      case 'del':
        return this.#del(request)
      case 'open':
        await this.#turns.take(hostIfname(request.attachment), () => this.#links.open(request.attachment))
        await this.#links.carried(hostIfname(request.attachment))
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
      return { result: await add({ environment, conf, stdin, started }, this.#links, netns, isGone), warnings: conf.warnings }
    })
  }

  async #del({ attachment, lease, caller }: Request<'del'>): Promise<object> {
    await this.#turns.take(hostIfname(attachment), async () => {
      const opened = caller !== undefined && isThere(caller) ? new Netns(pathOf(caller)) : undefined
      try {
        if (lease)
          await removeAttachment(
            attachment,
            this.#dataDir,
            this.#links,
            () => release(this.#dataDir, attachment.network, attachment),
            opened,
          )
        else await removeLink(attachment, this.#dataDir, this.#links, opened)
      } finally {
        opened?.[Symbol.dispose]()
      }
    })
    return {}
  }

  /**
   * Takes up every link on record that is not held, closes the descriptors of links whose namespace
   * is gone, and restores the firewall.
   */
  async reconcile(): Promise<void> {
    const { plans, broken } = recordList(this.#dataDir)
    for (const { file, reason } of broken) log('record cannot be used', { file, reason })
    this.#guard.start()
    const unreadable = broken.filter(({ isUnreadable }) => isUnreadable).length
    await this.#links.takeUp(plans, unreadable, () => void this.#reconcileAgain())
    await this.sweep()
  }

  /** Never rejects: the agent goes on, with the links that it has, when records cannot be read. */
  async #reconcileAgain(): Promise<void> {
    try {
      await this.reconcile()
    } catch (error) {
      log('links not taken up', { error: (error as Error).message })
      this.#links.tryLater(() => void this.#reconcileAgain())
    }
  }

  /** Closes the descriptors of links that are gone: see HeldLinks. */
  sweep(): Promise<void> {
    return this.#links.sweep()
  }

  /** True while there is a record of a link to the node, or one that cannot be read. */
  get hasLinks(): boolean {
    if (this.#links.size > 0) return true
    const { plans, broken } = recordList(this.#dataDir)
    return plans.some(({ host }) => host !== undefined) || broken.some(({ isUnreadable }) => isUnreadable)
  }

  status(): Omit<AgentStatus, 'pid' | 'version' | 'outdated'> {
    const kernel = kernelRefusal()
    const { mode, refusal, threads } = this.#links.wires
    const refusals = { kernel, io_uring: refusal, uso: usoRefusal(), firewall: nftRefusal() }
    const links = this.list()
    return {
      wire: kernel === undefined ? 'kernel' : mode,
      refusals: Object.fromEntries(Object.entries(refusals).filter(([, why]) => why !== undefined)),
      threadMode: mode,
      threads,
      links: links.length,
      held: this.#links.size,
      unserved: links.filter(({ wire, isOpen }) => wire === 'thread' && !isOpen).length,
    }
  }

  list(): ListedLink[] {
    return listLinks(this.#dataDir, (link, wire) => (wire === 'thread' ? this.#links.wires.serves(link) : this.#links.has(link)))
  }

  /** Hands over every descriptor, for adopt() in this process or after execve(2). */
  async freeze(): Promise<Kept> {
    const kept = await this.#links.freeze()
    this.#guard[Symbol.dispose]()
    return kept
  }

  /** Must be called before reconcile(). */
  adopt(kept: Kept): void {
    this.#links.adopt(kept)
  }

  async close(): Promise<void> {
    await this.#links.close()
    this.#guard[Symbol.dispose]()
  }
}
