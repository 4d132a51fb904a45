/** Starts an agent where none runs, detached from the plugin in every way that a runtime would wait for. */
import { closeSync, constants, mkdirSync, openSync } from 'node:fs'
import { CniError, CODE } from '../cni/error.ts'
import { ask, noAgent } from './client.ts'
import { logPath, type Request } from './protocol.ts'

const START_TIMEOUT_MS = 10_000

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
