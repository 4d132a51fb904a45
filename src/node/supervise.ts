/** Sees to it that an agent serves: starts one, a child process, where none answers; and asks one to renew itself after an upgrade. */
import { type ChildProcess, spawn } from 'node:child_process'
import { ask } from '../agent/client.ts'
import type { Answers, Request } from '../agent/protocol.ts'
import { AGENT_ENV } from '../agent/spawn.ts'
import { Backoff } from './backoff.ts'
import { log } from './log.ts'

const ANSWER_MS = 5_000
/** An agent that has run for so long did not fail because of how it was started. */
const STABLE_MS = 60_000
/** How often to look after an agent that is not ours. */
const NOT_OURS_MS = 1_000
/** Unanswered probes after which the agent is taken to hang. */
const MOST_UNANSWERED = 6

export class Supervisor {
  readonly #executable: string
  readonly #dataDir: string
  readonly #backoff = new Backoff(200, 10_000)
  #child: ChildProcess | undefined
  #timer: NodeJS.Timeout | undefined
  #stopping = false
  #startedMs = 0
  #unanswered = 0
  /** How often the agent was started again. */
  restarts = 0

  /** `dataDir` is the one that the plugin's configuration names. */
  constructor(executable: string, dataDir: string) {
    this.#executable = executable
    this.#dataDir = dataDir
  }

  start(): void {
    this.#startedMs = Date.now()
    this.#unanswered = 0
    const child = spawnAgent(this.#executable, this.#dataDir, 0)
    this.#child = child
    child.on('error', error => this.#ended(child, `could not be started: ${error.message}`))
    child.on('exit', (status, signal) => this.#ended(child, signal === null ? `exited with status ${status}` : `was ended by ${signal}`))
  }

  /** An answer of the agent. Rejects when there is none within five seconds. */
  ask<R extends Request>(request: R): Promise<Answers[R['op']]> {
    return ask(this.#dataDir, request, ANSWER_MS)
  }

  /** One part of an answer; undefined when the agent does not answer, or not to this. */
  async says<T>(op: 'list' | 'stats', key: string): Promise<T | undefined> {
    try {
      return ((await this.ask({ op })) as Record<string, unknown>)[key] as T | undefined
    } catch {
      return undefined
    }
  }

  /** True when the agent answers. A child that has not for a while is killed, and so started again. */
  async probe(): Promise<boolean> {
    try {
      const { outdated, pid } = await this.ask({ op: 'status' })
      this.#unanswered = 0
      if (outdated) {
        log.info('the agent renews itself', { pid })
        await this.ask({ op: 'renew' })
      }
      return true
    } catch (error) {
      if (++this.#unanswered >= MOST_UNANSWERED && this.#child !== undefined) {
        log.error('agent hangs, killed', { error: (error as Error).message })
        this.#unanswered = 0
        this.#child.kill('SIGKILL')
      }
      return false
    }
  }

  /** Resolves when the agent has ended. */
  async stop(): Promise<void> {
    this.#stopping = true
    clearTimeout(this.#timer)
    const child = this.#child
    if (child === undefined) return
    await new Promise(resolve => {
      child.on('exit', resolve)
      child.kill('SIGTERM')
      setTimeout(() => child.kill('SIGKILL'), ANSWER_MS).unref()
    })
  }

  #ended(child: ChildProcess, how: string): void {
    if (this.#child !== child) return
    this.#child = undefined
    if (this.#stopping) return
    if (Date.now() - this.#startedMs > STABLE_MS) this.#backoff.reset()
    const delayMs = this.#backoff.next()
    log.info('agent ended', { how, delayMs })
    this.#timer = setTimeout(() => void this.#startUnlessServed(), delayMs)
  }

  /** Where another agent answers, ours is not needed. */
  async #startUnlessServed(): Promise<void> {
    const served = await this.ask({ op: 'status' }).then(
      () => true,
      () => false,
    )
    if (this.#stopping) return
    if (served) {
      this.#timer = setTimeout(() => void this.#startUnlessServed(), NOT_OURS_MS)
      return
    }
    this.restarts++
    log.warn('no agent serves, started again', { restarts: this.restarts })
    this.start()
  }
}

/** An agent that ends `idleSeconds` after the last link, or never with 0. */
export function spawnAgent(executable: string, dataDir: string, idleSeconds: number): ChildProcess {
  const { BUN_BE_BUN, ...env } = process.env // with it, the executable would be Bun and not tunlink
  return spawn(executable, ['agent', '--data-dir', dataDir, '--idle-exit', String(idleSeconds)], {
    env: { ...env, ...AGENT_ENV },
    stdio: ['ignore', 'inherit', 'inherit'],
  })
}
