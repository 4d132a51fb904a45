/**
 * tunlinkd: compares the wanted state with the node's, again and again. Every part repairs in the
 * same way as it sets up.
 */
import { closeSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { tryLock } from '../linux/lock.ts'
import { NetlinkSocket } from '../linux/netlink.ts'
import { NETLINK_NETFILTER } from '../linux/uapi.ts'
import { parseConfig } from './config.ts'
import { CONFLIST, dataDirOf } from './conflist.ts'
import { listen } from './health.ts'
import { openTunlinkdLock, readText } from './install.ts'
import { Kube } from './kube.ts'
import { describe, log } from './log.ts'
import { Loop } from './loop.ts'
import { Nodes } from './nodes.ts'
import { Notifier } from './notify.ts'
import type { Options } from './options.ts'
import { agentPart } from './parts/agent.ts'
import { conditionsPart } from './parts/conditions.ts'
import { configPart } from './parts/config.ts'
import { conflistPart } from './parts/conflist.ts'
import { devicePluginPart } from './parts/device-plugin.ts'
import { executablePart } from './parts/executable.ts'
import { forwardPart } from './parts/forward.ts'
import { garbagePart } from './parts/garbage.ts'
import { masqueradePart } from './parts/masquerade.ts'
import type { Part } from './parts/part.ts'
import { poolPart } from './parts/pool.ts'
import { routesPart } from './parts/routes.ts'
import type { State } from './state.ts'

/** The parts in this order in each round: later parts need earlier ones. */
const PARTS: ((state: State) => Part)[] = [
  configPart,
  executablePart,
  agentPart,
  routesPart,
  masqueradePart,
  forwardPart,
  conflistPart,
  poolPart,
  garbagePart,
  devicePluginPart,
  conditionsPart,
]

/** Changes of Nodes within this time are handled together. */
const GATHER_MS = 100
const LOCK_RETRY_MS = 1_000
const LOCK_TOLD_MS = 10_000

export class Daemon {
  readonly #version: string
  readonly #state: State
  readonly #parts: Part[]
  readonly #loop: Loop
  /** The error message of each part that fails. */
  readonly #failing = new Map<string, string>()
  readonly #stopping = new AbortController()

  constructor(options: Options, version: string) {
    this.#version = version
    const kube = new Kube(options.kubeconfig)
    const nodes = new Nodes()
    this.#state = {
      options,
      dataDir: dataDirFor(options),
      kube,
      notifier: new Notifier(kube, options.nodeName),
      route: new NetlinkSocket(),
      netfilter: new NetlinkSocket(NETLINK_NETFILTER),
      nodes,
      get own() {
        return nodes.get(options.nodeName)
      },
      wake: (...parts) => this.#loop.wake(...parts),
      agentReady: false,
      agentStarts: 0,
      conflistInstalled: false,
      collected: { links: 0, devices: 0, leases: 0 },
    }
    this.#parts = PARTS.map(part => part(this.#state))
    this.#loop = new Loop(this.#parts, {
      failed: (part, error) => this.#failed(part, describe(error)),
      passed: (part, again) => this.#passed(part, again),
    })
  }

  /** Resolves when stop() was called. */
  async run(): Promise<void> {
    const { options, dataDir, kube } = this.#state
    const { signal } = this.#stopping
    log.info('tunlinkd starts', { version: this.#version, node: options.nodeName, backend: options.backend, dataDir, server: kube.server })
    const lock = await this.#takeLock()
    // after the lock is held: the process before has released the ports
    const servers = await listen(this.#version, this.#state, this.#failing, this.#loop)
    if (!signal.aborted) {
      kube.followNodes(
        this.#state.nodes,
        gathered(() => this.#state.wake('routes', 'masquerade', 'forward', 'conflist', 'conditions')),
        signal,
      )
      await this.#loop.run()
    }
    for (const part of this.#parts) endInOrder(part.name, () => part.end?.())
    for (const server of servers) endInOrder('server', () => server.close())
    endInOrder('lock', () => closeSync(lock))
    log.info('tunlinkd ends; links, routes and files stay')
  }

  stop(): void {
    this.#stopping.abort()
    this.#loop.stop()
  }

  /** One tunlinkd per node: a new one waits for the end of the old one. */
  async #takeLock(): Promise<number> {
    const { dataDir } = this.#state
    const { signal } = this.#stopping
    const lock = openTunlinkdLock(dataDir)
    let toldMs = Number.NEGATIVE_INFINITY
    while (!signal.aborted && !tryLock(lock)) {
      if (performance.now() - toldMs > LOCK_TOLD_MS) {
        log.info('waiting for the tunlinkd that runs already', { dataDir })
        toldMs = performance.now()
      }
      await sleep(LOCK_RETRY_MS, undefined, { signal }).catch(() => {})
    }
    return lock
  }

  /** A fault is reported when it begins and when it is over. */
  #failed(part: string, message: string): void {
    this.#failing.set(part, message)
    this.#state.notifier.tell('Warning', reasonOf(part), message)
  }

  #passed(part: string, again: boolean): void {
    if (!again) return
    this.#failing.delete(part)
    log.info('recovered', { what: part })
    this.#state.notifier.forget(reasonOf(part))
  }
}

/** What cannot be ended is logged, and keeps the rest from nothing. */
function endInOrder(what: string, end: () => void): void {
  try {
    end()
  } catch (error) {
    log.error('not ended in order', { what, error: describe(error) })
  }
}

const reasonOf = (part: string) => `${part[0]!.toUpperCase()}${part.slice(1)}Failed`

/** From the flag, the configuration, or the installed conflist. */
function dataDirFor({ dataDir, config, cniConfDir }: Options): string {
  const configured = () => {
    try {
      return parseConfig(readText(config) ?? '').dataDir
    } catch {
      return dataDirOf(readText(join(cniConfDir, CONFLIST))) // the part "config" reports the fault
    }
  }
  return dataDir ?? configured() ?? '/run/tunlink'
}

/** Calls `body` once for all calls within GATHER_MS. */
function gathered(body: () => void): () => void {
  let isDue = false
  return () => {
    if (isDue) return
    isDue = true
    setTimeout(() => {
      isDue = false
      body()
    }, GATHER_MS)
  }
}
