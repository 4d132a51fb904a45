/**
 * Keeps an agent running: starts one where none answers, renews one whose executable was replaced,
 * ends one that hangs. Packets of kernel wires do not need it: it may end with tunlinkd's
 * container, and the plugin starts one, too.
 */
import { spawn } from 'node:child_process'
import { ask } from '../../agent/client.ts'
import { endAgent } from '../../agent/end.ts'
import { agentEnv } from '../../agent/spawn.ts'
import { CniError, CODE } from '../../cni/error.ts'
import { Backoff } from '../backoff.ts'
import { describe, log } from '../log.ts'
import type { State } from '../state.ts'
import type { Part } from './part.ts'

/** How often a running agent is asked: each question wakes it. */
const ASK_MS = 5_000
/**
 * After this many unanswered questions, each with the timeout of ask(), the agent counts as hung.
 */
const MOST_UNANSWERED = 2
const FIRST_START_MS = 200
const MOST_START_MS = 10_000

export function agentPart(state: State): Part {
  const { dataDir } = state
  const backoff = new Backoff(FIRST_START_MS, MOST_START_MS)
  let askMs = 0
  let startMs = 0
  let unanswered = 0

  function start(executable: string): void {
    if (performance.now() < startMs) return
    startMs = performance.now() + backoff.next()
    state.agentStarts++
    log.info('no agent answers, started', { executable, starts: state.agentStarts })
    const child = spawnAgent(executable, dataDir)
    child.on('error', error => log.warn('agent not started', { error: error.message }))
    child.on('exit', (status, signal) => {
      log.info('agent ended', { status, signal })
      askMs = 0
      state.wake('agent')
    })
    child.unref()
  }

  async function askStatus(): Promise<void> {
    const { pid, outdated } = await ask(dataDir, { op: 'status' })
    unanswered = 0
    if (!state.agentReady) {
      log.info('agent answers', { pid })
      state.wake('conflist', 'garbage')
    }
    state.agentReady = true
    askMs = performance.now() + ASK_MS
    if (outdated !== true) {
      backoff.reset()
      return
    }
    log.info('agent renews itself', { pid })
    await ask(dataDir, { op: 'renew' })
  }

  return {
    name: 'agent',
    everyMs: 1_000,
    async run() {
      if (performance.now() < askMs) return
      try {
        await askStatus()
      } catch (error) {
        state.agentReady = false
        if (error instanceof CniError && error.code === CODE.tryAgainLater) {
          if (++unanswered < MOST_UNANSWERED) return
          log.warn('agent hangs, ended', { error: describe(error) })
          unanswered = 0
          await endAgent(dataDir)
        }
        if (state.executable !== undefined) start(state.executable)
      }
    },
  }
}

/**
 * Starts an agent from the installed executable, so that it notices when that is replaced. It has a
 * session of its own, and outlives tunlinkd unless a container ends with it. Its log goes where
 * tunlinkd's log goes.
 */
function spawnAgent(executable: string, dataDir: string) {
  return spawn(executable, ['agent', '--data-dir', dataDir, '--idle-exit', '0'], {
    cwd: '/',
    detached: true,
    env: agentEnv(),
    stdio: ['ignore', 'inherit', 'inherit'],
  })
}
