/** Starts an agent where none runs, detached from the plugin in every way that a runtime would wait for. */
import { closeSync, constants, mkdirSync, openSync } from 'node:fs'
import { CniError, CODE } from '../cni/error.ts'
import { ask, noAgent } from './client.ts'
import { logPath, type Request } from './protocol.ts'

const START_TIMEOUT_MS = 10_000

export interface SpawnOptions {
  spawn: boolean
  /** Seconds without a link after which an agent started here ends. */
  idleSeconds: number
}

/**
 * ask(), with an agent started first when none answers, and behind one that stands in for it: the plugin is where an agent can be started as
 * a process of the node. Throws CniError 50 when there is none and none may be or could be started.
 */
export async function askOrSpawn(dataDir: string, options: SpawnOptions, request: Request): ReturnType<typeof ask> {
  const answer = await askStarting(dataDir, options, request)
  if (answer.successorWanted === true && options.spawn) await startAgent(dataDir, options.idleSeconds, '--replace')
  return answer
}

async function askStarting(dataDir: string, options: SpawnOptions, request: Request): ReturnType<typeof ask> {
  try {
    return await ask(dataDir, request)
  } catch (error) {
    if (!noAgent(error)) throw error
  }
  if (!options.spawn)
    throw new CniError(
      CODE.pluginNotAvailable,
      `no agent answers at ${dataDir}/agent.sock`,
      '"agent.spawn" is false: start one with "tunlink agent"',
    )
  await startAgent(dataDir, options.idleSeconds)
  const deadline = Date.now() + START_TIMEOUT_MS
  for (;;) {
    try {
      return await ask(dataDir, request)
    } catch (error) {
      if (!noAgent(error)) throw error
      if (Date.now() > deadline) throw new CniError(CODE.pluginNotAvailable, 'the agent did not start', `see ${logPath(dataDir)}`)
    }
    await new Promise(resolve => setTimeout(resolve, 10))
  }
}

/**
 * What an agent's environment is to have. Without this timer Bun collects garbage when memory is allocated, as every engine does; with it, an
 * agent at rest wakes ten times a second to see whether there is any.
 */
export const AGENT_ENV = { BUN_GC_TIMER_DISABLE: '1' }

/** Its own session, no inherited pipe, its own log: a runtime waits for whoever holds the plugin's stdout. */
export async function startAgent(dataDir: string, idleSeconds: number, ...options: string[]): Promise<void> {
  const { spawn } = await import('node:child_process')
  mkdirSync(dataDir, { recursive: true, mode: 0o700 })
  const log = openSync(logPath(dataDir), constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND, 0o600)
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('CNI_'))
  const script = process.execPath.endsWith('/node') ? [process.argv[1]!] : []
  const child = spawn(process.execPath, [...script, 'agent', '--data-dir', dataDir, '--idle-exit', String(idleSeconds), ...options], {
    cwd: '/',
    detached: true,
    env: { ...Object.fromEntries(inherited), ...AGENT_ENV },
    stdio: ['ignore', log, log],
  })
  child.on('error', error => process.stderr.write(`Cannot start the agent: ${error.message}\n`))
  child.unref()
  closeSync(log)
}
