/**
 * The running agent: it answers requests, closes descriptors of links that are gone, ends when idle
 * or told to, and renews itself.
 */
import { closeSync, type FSWatcher, fstatSync, lstatSync, rmSync, watch } from 'node:fs'
import { CniError, CODE } from '../cni/error.ts'
import { kernelError } from '../link/errors.ts'
import { duplicate } from '../linux/exec.ts'
import type { Agent } from './agent.ts'
import { log } from './log.ts'
import { type AgentStatus, lockPath, PROTOCOL, type Request, socketPath, VERSION } from './protocol.ts'
import { isOutdated, renew, renewalRefusal } from './renew.ts'
import { answer, encodeError } from './requests.ts'
import { type Caller, LineServer, MAX_LINE } from './server.ts'
import { Stats } from './stats.ts'
import { giveMemoryBack } from './tidy.ts'

/**
 * Namespaces that vanish from /run/netns are noticed at once, others by this sweep. An idle agent
 * wakes for nothing else.
 */
const SWEEP_MS = 120_000
/**
 * A sweep soon after work: a plugin that found no agent may have removed a link while this agent
 * started, and unused memory is given back.
 */
const TIDY_MS = 10_000
/** Namespaces come and go many at a time: one sweep for all of them. */
const SETTLE_MS = 100
/** The directory where runtimes bind network namespaces. */
const NETNS_DIRECTORY = '/run/netns'

export interface ServiceOptions {
  dataDir: string
  /** Seconds without a link after which the agent ends; 0: never. */
  idleSeconds: number
}

/** What a service works with, until it ends or renews itself. */
export interface Belongings {
  agent: Agent
  /** Descriptors. */
  lock: number
  listening: number
}

export class Service {
  readonly #options: ServiceOptions
  readonly #own: Belongings
  readonly #stats = new Stats()
  #server: LineServer | undefined
  #sweeping: NodeJS.Timeout | undefined
  #settling: NodeJS.Timeout | undefined
  #idling: NodeJS.Timeout | undefined
  #watcher: FSWatcher | undefined
  #underWay = 0
  #tidying: NodeJS.Timeout | undefined
  /** From here on requests are left to the next agent: the work of this one would be lost. */
  #leaving: 'ending' | 'renewing' | undefined

  constructor(options: ServiceOptions, own: Belongings) {
    this.#options = options
    this.#own = own
  }

  async start(): Promise<void> {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => void this.#end(signal))
    process.on('SIGHUP', () => void this.#renew('SIGHUP'))
    await this.#resume()
  }

  async #resume(): Promise<void> {
    this.#leaving = undefined
    // A second descriptor, so that the socket stays open when the server closes: clients that
    // connect then wait for the new program.
    this.#server = new LineServer({
      listening: duplicate(this.#own.listening),
      respond: (line, caller) => this.#respond(line, caller),
      tooLong: encodeError(new CniError(CODE.decoding, `the request is longer than ${MAX_LINE} bytes`)),
    })
    await this.#server.listen()
    this.#sweeping = setInterval(() => this.#sweep(), SWEEP_MS)
    this.#tidyLater()
    this.#watch()
    this.#awaitIdle()
  }

  /** Resolves when the requests under way have been answered. */
  async #pause(): Promise<void> {
    clearInterval(this.#sweeping)
    clearTimeout(this.#settling)
    clearTimeout(this.#tidying)
    this.#tidying = undefined
    clearTimeout(this.#idling)
    this.#watcher?.close()
    this.#watcher = undefined
    await this.#server?.close()
  }

  async #end(reason: string): Promise<void> {
    if (this.#leaving === 'ending') return
    this.#leaving = 'ending'
    log('agent ends', { reason })
    this.#removeSocket()
    closeSync(this.#own.listening)
    await this.#pause()
    await this.#own.agent.close()
    closeSync(this.#own.lock)
    process.exit(0)
  }

  /** The socket of another agent stays: somebody has removed the directory, or the lock's file. */
  #removeSocket(): void {
    const { dataDir } = this.#options
    try {
      const [own, present] = [fstatSync(this.#own.lock), lstatSync(lockPath(dataDir), { throwIfNoEntry: false })]
      if (own.ino === present?.ino && own.dev === present.dev) rmSync(socketPath(dataDir), { force: true })
    } catch (error) {
      // such as on a read-only file system
      log('socket not removed', { error: (error as Error).message })
    }
  }

  async #renew(reason: string): Promise<void> {
    if (this.#leaving !== undefined) return
    this.#leaving = 'renewing'
    log('agent renews itself', { reason })
    await this.#pause()
    const kept = await this.#own.agent.freeze()
    try {
      if (this.#isEnding()) return // SIGTERM arrived meanwhile
      renew({ protocol: PROTOCOL, lock: this.#own.lock, listening: this.#own.listening, kept })
    } catch (error) {
      log('agent not renewed, goes on', { error: (error as Error).message })
      this.#own.agent.adopt(kept)
      await this.#resume()
    }
  }

  #isEnding(): boolean {
    return this.#leaving === 'ending'
  }

  /** Undefined from an agent that is about to end: the client then asks the next one. */
  async #respond(line: string, caller: Caller): Promise<string | undefined> {
    if (this.#leaving !== undefined) return undefined
    this.#underWay++
    this.#tidyLater()
    try {
      return await answer(line, request => this.#perform(request, caller))
    } finally {
      this.#underWay--
      this.#awaitIdle()
    }
  }

  async #perform(request: Request, caller: Caller): Promise<object> {
    switch (request.op) {
      case 'status':
        return this.#status()
      case 'stats':
        return { verbs: this.#stats }
      case 'renew':
        return { renewed: await this.#wantsRenewal() }
      case 'end':
        setImmediate(() => void this.#end('asked to')) // the answer is sent first
        return {}
      case 'add':
        return this.#timed('ADD', request.started, () => this.#own.agent.perform(request, () => caller.isGone()))
      case 'del':
        return this.#timed('DEL', request.started, () => this.#own.agent.perform(request, () => caller.isGone()))
      default:
        return this.#own.agent.perform(request, () => caller.isGone())
    }
  }

  #status(): AgentStatus {
    return { pid: process.pid, version: VERSION, ...this.#own.agent.status(), outdated: isOutdated() }
  }

  async #timed<T>(verb: 'ADD' | 'DEL', started: number, body: () => Promise<T>): Promise<T> {
    try {
      const result = await body()
      this.#stats.record(verb, started)
      return result
    } catch (error) {
      this.#stats.record(verb, started, kernelError(error).code)
      throw error
    }
  }

  /**
   * The answer is sent before the renewal begins. Throws CniError 11 when the new executable cannot
   * take over.
   */
  async #wantsRenewal(): Promise<boolean> {
    if (!isOutdated()) return false
    const refusal = await renewalRefusal()
    if (refusal !== undefined) throw new CniError(CODE.tryAgainLater, `the agent cannot renew itself: ${refusal}`)
    setImmediate(() => void this.#renew('the executable was replaced'))
    return true
  }

  /**
   * Ends the agent after the requested time without a link. While there are links no timer runs: a
   * request or a sweep starts it again.
   */
  #awaitIdle(): void {
    const idleMs = this.#options.idleSeconds * 1000
    if (idleMs === 0 || this.#leaving !== undefined) return
    clearTimeout(this.#idling)
    this.#idling = setTimeout(() => {
      this.#idling = undefined
      if (this.#underWay === 0 && !this.#hasLinks()) void this.#end('idle')
    }, idleMs)
  }

  /** True also when the records cannot be looked at just now. */
  #hasLinks(): boolean {
    try {
      return this.#own.agent.hasLinks
    } catch (error) {
      log('records not read', { error: (error as Error).message })
      return true
    }
  }

  #tidyLater(): void {
    this.#tidying ??= setTimeout(() => {
      this.#tidying = undefined
      if (this.#underWay > 0) return this.#tidyLater()
      this.#sweep()
      giveMemoryBack()
    }, TIDY_MS)
  }

  #sweep(): void {
    if (this.#watcher === undefined) this.#watch()
    this.#own.agent
      .sweep()
      .then(() => this.#idling === undefined && !this.#hasLinks() && this.#awaitIdle())
      .catch((error: Error) => log('sweep failed', { error: error.message }))
  }

  #watch(): void {
    try {
      this.#watcher = watch(NETNS_DIRECTORY, event => {
        if (event === 'rename') this.#settling ??= setTimeout(() => this.#settled(), SETTLE_MS)
      })
      this.#watcher.on('error', () => {
        this.#watcher = undefined
      })
    } catch {
      this.#watcher = undefined // the directory does not exist yet: the next sweep looks again
    }
  }

  #settled(): void {
    this.#settling = undefined
    this.#sweep()
  }
}
