/**
 * Ends another agent by the process ID in its lock file: that agent may hang, or be of another
 * version. An agent in a PID namespace that cannot be seen from here (the node's agent, seen from a
 * container) is asked to end.
 */
import { closeSync, existsSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { isLocked, lockHolder, openLock } from '../linux/lock.ts'
import { ask, noAgent } from './client.ts'
import { lockPath } from './protocol.ts'

/** The time from SIGTERM to SIGKILL. */
const TERM_MS = 2_000
/**
 * The time to wait after SIGKILL: a process in the middle of a system call ends when the call
 * returns.
 */
const KILL_MS = 10_000
/**
 * The time to wait after the request to end: an agent first answers what it has begun, for half a
 * minute at most.
 */
const ASKED_MS = 40_000
const RETRY_MS = 20

/**
 * Ends the agent of this directory: SIGTERM, after two seconds SIGKILL. True when there was one.
 * Resolves when it no longer holds its lock, which is after its last descriptor was closed. Several
 * processes may end one agent at once; an agent that has taken its place is left alone. An agent
 * whose process cannot be seen is asked to end. Throws when that fails, or when it does not end.
 */
export async function endAgent(dataDir: string): Promise<boolean> {
  const path = lockPath(dataDir)
  if (!existsSync(path)) return false
  const lock = openLock(path)
  try {
    if (!isLocked(lock)) return false
    const pid = lockHolder(path)
    if (pid === undefined) {
      if (!isLocked(lock)) return false
      await askToEnd(dataDir, path, lock)
      return true
    }
    signalAgent(path, pid, 'SIGTERM')
    if (!(await hasEnded(path, lock, pid, TERM_MS))) await killHolder(path, lock, pid)
    return true
  } finally {
    closeSync(lock)
  }
}

async function askToEnd(dataDir: string, path: string, lock: number): Promise<void> {
  const fail = (why: string) =>
    new Error(
      `Cannot end the agent that holds ${path}: its process is not to be seen from this PID namespace, and ${why}; end it on the node`,
    )
  try {
    await ask(dataDir, { op: 'end' })
  } catch (error) {
    if (!noAgent(error)) throw fail((error as Error).message) // it may be about to end by itself
  }
  if (!(await hasEnded(path, lock, undefined, ASKED_MS))) throw fail('it goes on')
}

/**
 * Sends SIGKILL to the process `pid`, which holds the lock file open as `lock`; resolves when it no
 * longer holds the lock.
 */
export async function killHolder(path: string, lock: number, pid: number | undefined): Promise<void> {
  signalAgent(path, pid, 'SIGKILL')
  if (!(await hasEnded(path, lock, pid, KILL_MS)))
    throw new Error(`Cannot end the agent that holds ${path}: process ${pid} goes on after SIGKILL`)
}

/** False when the process still holds the lock after that time. */
async function hasEnded(path: string, lock: number, pid: number | undefined, withinMs: number): Promise<boolean> {
  const until = performance.now() + withinMs
  while (isLocked(lock) && [pid, undefined].includes(lockHolder(path))) {
    if (performance.now() > until) return false
    await sleep(RETRY_MS)
  }
  return true
}

function signalAgent(path: string, pid: number | undefined, signal: 'SIGTERM' | 'SIGKILL'): void {
  if (pid === undefined)
    throw new Error(`Cannot end the agent that holds ${path}: its process is not to be seen from this PID namespace; end it on the node`)
  try {
    process.kill(pid, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
