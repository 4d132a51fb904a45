/** tunlinkd: once a second what should be is compared with what is. Every part heals by the same path by which it was set up. */
import { closeSync, existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { tryLock } from '../linux/lock.ts'
import { NetlinkSocket } from '../linux/netlink.ts'
import { NETLINK_NETFILTER } from '../linux/uapi.ts'
import { nodeConditions, refusals } from './conditions.ts'
import { type NodeConfig, parseConfig } from './config.ts'
import { CONFLIST, conflist, dataDirOf, NETWORK, shadowedBy } from './conflist.ts'
import { collectGarbage } from './garbage.ts'
import { configurationsBefore, installExecutable, installText, openTunlinkdLock, readText, signature } from './install.ts'
import { Kube } from './kube.ts'
import { describe, log } from './log.ts'
import { inside, Masquerade } from './masquerade.ts'
import { type LinkCounters, metricsPage, type Verbs } from './metrics.ts'
import type { NodeInfo } from './node-info.ts'
import { Notifier } from './notify.ts'
import type { Options } from './options.ts'
import { type Programmed, podMtu, programNetwork } from './program.ts'
import { checklist, serve } from './server.ts'
import { Supervisor } from './supervise.ts'

const TICK_MS = 1_000
/** Ticks between looks at what nobody should change: routes, agent. */
const KERNEL_TICKS = 5
const GARBAGE_TICKS = 60
/** Ticks until conditions that the API did not take are sent again. */
const CONDITION_TICKS = 30
/** A loop that has not come round for so long is stuck. */
const STUCK_MS = 60_000

export class Daemon {
  readonly #options: Options
  readonly #version: string
  readonly #kube: Kube
  readonly #notifier: Notifier
  readonly #supervisor: Supervisor
  readonly #dataDir: string
  readonly #route = new NetlinkSocket()
  readonly #netfilter = new NetlinkSocket(NETLINK_NETFILTER)
  readonly #masquerade = new Masquerade()
  readonly #failing = new Map<string, string>()
  #stopping = false
  #tick = 0
  #lastTickMs = Date.now()
  #configText: string | undefined
  /** The last good one; undefined until there was one. */
  #config: NodeConfig | undefined
  #nodes: NodeInfo[] | undefined
  #changed = false
  #agentReady = false
  #executable: string | undefined
  #conflistInstalled = false
  #programmed: Programmed | undefined
  #collected = { links: 0, devices: 0, leases: 0 }
  #conditions = ''
  #conditionsDueTick = 0
  #garbageDueTick = 0
  #wake = () => {}

  constructor(options: Options, version: string) {
    this.#options = options
    this.#version = version
    this.#kube = new Kube(options.kubeconfig)
    this.#notifier = new Notifier(this.#kube, options.nodeName)
    this.#readConfig()
    this.#dataDir = options.dataDir ?? this.#config?.dataDir ?? dataDirOf(readText(this.#conflistPath)) ?? '/run/tunlink'
    this.#supervisor = new Supervisor(options.executable, this.#dataDir)
  }

  /** Resolves when stop() was called. */
  async run(): Promise<void> {
    const { backend, nodeName } = this.#options
    log.info('tunlinkd starts', { version: this.#version, node: nodeName, backend, dataDir: this.#dataDir, server: this.#kube.server })
    this.#supervisor.start() // before the lock: it takes the wires over from the stand-in of a tunlinkd that is about to end
    const lock = await this.#takeLock()
    const servers = await this.#listen() // behind the lock: the one before has let go of the ports
    if (!this.#stopping) {
      this.#kube.watchNodes(nodes => {
        this.#nodes = nodes
        this.#changed = true
        this.#wake()
      })
    }
    while (!this.#stopping) {
      await this.#round()
      this.#lastTickMs = Date.now()
      await this.#nextTick()
    }
    this.#kube.stop()
    await this.#supervisor.stop()
    for (const server of servers) server.close()
    closeSync(lock)
    log.info('tunlinkd ends; links, routes and files stay')
  }

  stop(): void {
    this.#stopping = true
    this.#wake()
  }

  /** Resolves after a second, or when #wake() is called. */
  #nextTick(): Promise<void> {
    return new Promise(resolve => {
      const timer = setTimeout(resolve, TICK_MS)
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  async #listen() {
    const pages = {
      '/healthz': () => checklist({ loop: Date.now() - this.#lastTickMs < STUCK_MS || 'it is stuck' }),
      '/readyz': () => checklist(this.#checks()),
      '/metrics': async () => ({ status: 200, body: await this.#metrics() }),
    }
    const { healthBindAddress: health, metricsBindAddress: metrics } = this.#options
    const servers = [await serve(health, pages)]
    if (metrics !== '' && metrics !== health) servers.push(await serve(metrics, { '/metrics': pages['/metrics'] }))
    return servers
  }

  /** One tunlinkd to a node: during an upgrade the new one waits for the old one's end. */
  async #takeLock(): Promise<number> {
    const lock = openTunlinkdLock(this.#dataDir)
    for (let waited = 0; !this.#stopping; waited++) {
      if (tryLock(lock)) break
      if (waited % 10 === 0) log.info('waiting for the tunlinkd that runs already', { dataDir: this.#dataDir })
      this.#lastTickMs = Date.now()
      await sleep(TICK_MS)
    }
    return lock
  }

  async #round(): Promise<void> {
    const due = (ticks: number) => this.#tick % ticks === 0
    this.#step('config', () => this.#readConfig())
    this.#step('executable', () => this.#ensureExecutable())
    if (due(KERNEL_TICKS) || !this.#agentReady) this.#agentReady = await this.#supervisor.probe()
    if (this.#changed || due(KERNEL_TICKS)) {
      this.#changed = false
      this.#step('routes', () => this.#ensureRoutes())
      this.#step('masquerade', () => this.#ensureMasquerade())
    }
    this.#step('conflist', () => this.#ensureConflist())
    if (this.#tick >= this.#garbageDueTick && this.#agentReady) await this.#collectGarbage()
    if (this.#tick >= this.#conditionsDueTick) await this.#tellConditions()
    this.#tick++
  }

  /** Runs one part; what goes wrong is told when it begins and when it is over, and the others go on. */
  #step(name: string, body: () => void): void {
    const reason = `${name[0]!.toUpperCase()}${name.slice(1)}Failed`
    try {
      body()
      if (this.#failing.delete(name)) log.info('recovered', { what: name })
      this.#notifier.forget(reason)
    } catch (error) {
      const message = describe(error)
      this.#failing.set(name, message)
      this.#notifier.tell('Warning', reason, message)
    }
  }

  #readConfig(): void {
    const text = readText(this.#options.config) ?? ''
    if (text === this.#configText) return
    this.#configText = text
    try {
      const config = parseConfig(text)
      if (this.#dataDir !== undefined && this.#options.dataDir === undefined && config.dataDir !== this.#dataDir)
        this.#notifier.tell('Warning', 'DataDirChanged', `"dataDir" stays ${this.#dataDir} until tunlinkd is restarted on a drained node`)
      this.#config = config
      this.#notifier.forget('InvalidConfig')
    } catch (error) {
      const kept = this.#config === undefined ? 'nothing is installed until it is right' : 'the last good one stays in force'
      this.#notifier.tell('Warning', 'InvalidConfig', `${this.#options.config}: ${describe(error)}; ${kept}`)
    }
  }

  #ensureExecutable(): void {
    const path = join(this.#options.cniBinDir, 'tunlink')
    if (this.#executable !== undefined && signature(path) === this.#executable) return
    const installed = installExecutable(this.#options.executable, path)
    this.#executable = signature(path)
    if (installed) log.info('executable installed', { path })
  }

  get #own(): NodeInfo | undefined {
    return this.#nodes?.find(({ name }) => name === this.#options.nodeName)
  }

  #ensureRoutes(): void {
    const own = this.#own
    if (own === undefined) return
    this.#programmed = programNetwork(this.#route, this.#nodes!, own, this.#options)
    const { changed, wanted, installed, refused } = this.#programmed
    if (changed > 0) log.info('routes programmed', { changed, wanted, installed })
    this.#notifier.warnWhile('RouteRefused', refused.length > 0 ? refusals(refused) : undefined)
  }

  #ensureMasquerade(): void {
    const own = this.#own
    if (own === undefined) return
    const on = this.#options.masquerade && this.#options.conflist && (this.#config?.ipMasq ?? true)
    const changed = this.#masquerade.apply(this.#netfilter, own, inside(this.#nodes!, this.#options.backend), on && own.podCIDRs.length > 0)
    if (changed) log.info('masquerade programmed', { on })
  }

  get #conflistPath(): string {
    return join(this.#options.cniConfDir, CONFLIST)
  }

  /** Last: a runtime takes it for the word that pods may come. */
  #ensureConflist(): void {
    if (!this.#options.conflist || this.#config === undefined || this.#executable === undefined) return
    const own = this.#own
    if (own === undefined) {
      this.#conflistInstalled = existsSync(this.#conflistPath) // from before a restart without the API: pods may still come
      if (this.#nodes !== undefined)
        this.#notifier.tell('Warning', 'NodeMissing', `the Kubernetes API has no Node "${this.#options.nodeName}"`)
      return
    }
    const missing = `Node "${own.name}" has no pod CIDR: start kube-controller-manager with --allocate-node-cidrs and --cluster-cidr`
    this.#notifier.warnWhile('PodCIDRMissing', own.podCIDRs.length === 0 ? missing : undefined)
    if (own.podCIDRs.length === 0) return
    if (!this.#agentReady && !this.#conflistInstalled) return
    const { backend, cniBinDir, cniConfDir } = this.#options
    const most = podMtu(this.#route, own, backend)
    const { mtu = most } = this.#config
    if (mtu > most && backend !== 'none')
      throw new Error(`"mtu" must be at most ${most}, which --backend ${backend} can carry here, not ${mtu}`)
    const config = { ...this.#config, dataDir: this.#dataDir }
    const text = conflist({ config, podCIDRs: own.podCIDRs, mtu, portmap: existsSync(join(cniBinDir, 'portmap')) })
    if (installText(text, this.#conflistPath)) log.info('conflist installed', { path: this.#conflistPath, podCIDRs: own.podCIDRs, mtu })
    if (!this.#conflistInstalled) this.#conditionsDueTick = 0
    this.#conflistInstalled = true
    this.#notifier.warnWhile('ConflistShadowed', shadowedBy(configurationsBefore(cniConfDir, CONFLIST), cniConfDir))
  }

  async #collectGarbage(): Promise<void> {
    this.#garbageDueTick = this.#tick + GARBAGE_TICKS
    try {
      const found = await collectGarbage(this.#dataDir, this.#route, request => this.#supervisor.ask(request))
      if (found.links + found.devices + found.leases > 0) log.info('garbage collected', { ...found })
      for (const key of ['links', 'devices', 'leases'] as const) this.#collected[key] += found[key]
    } catch (error) {
      log.warn('garbage not collected', { error: describe(error) })
    }
  }

  /** Once installed, and when they change. A refused patch costs a log line and is tried again. */
  async #tellConditions(): Promise<void> {
    const own = this.#own
    if (own === undefined || !this.#conflistInstalled) return
    const conditions = nodeConditions(own, this.#options.backend, this.#programmed)
    const wanted = JSON.stringify(conditions)
    if (wanted === this.#conditions && own.networkUnavailable === 'False') return
    this.#conditionsDueTick = this.#tick + CONDITION_TICKS
    try {
      await this.#kube.setConditions(own.name, conditions)
      this.#conditions = wanted
    } catch (error) {
      log.warn('conditions not set', { error: describe(error) })
    }
  }

  /** What readiness asks: may pods be scheduled here? Not whether the API answers: pods have their network without it. */
  #checks(): Record<string, string | true> {
    const { conflist } = this.#options
    return {
      agent: this.#agentReady || `none answers at ${this.#dataDir}/agent.sock`,
      executable: this.#executable !== undefined || 'it is not installed',
      config: this.#config !== undefined || 'there was no valid one yet',
      conflist:
        !conflist || this.#conflistInstalled || (this.#own === undefined ? 'the API has not told of this node yet' : 'not installed'),
      ...Object.fromEntries(this.#failing),
    }
  }

  async #metrics(): Promise<string> {
    const directory = join(this.#dataDir, 'ipam', NETWORK)
    return metricsPage({
      version: this.#version,
      ready: checklist(this.#checks()).status === 200,
      links: await this.#supervisor.says<LinkCounters[]>('list', 'links'),
      verbs: await this.#supervisor.says<Verbs>('stats', 'verbs'),
      podCIDRs: this.#own?.podCIDRs ?? [],
      leased: existsSync(directory) ? readdirSync(directory) : [],
      agentRestarts: this.#supervisor.restarts,
      apiErrors: this.#kube.errors,
      routes: this.#programmed ?? { wanted: 0, installed: 0 },
      collected: this.#collected,
    })
  }
}
