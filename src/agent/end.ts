/**
 * How another agent is ended: by the process ID in its lock file, for it may hang, or be of another
 * version. One in a PID namespace that is not to be seen from here, as the node's from a container,
 * is asked to end.
 */
import { closeSync, existsSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { lockHolder, openLock, tryLock } from '../linux/lock.ts'
import { ask, noAgent } from './client.ts'
import { lockPath } from './protocol.ts'

/** From SIGTERM to SIGKILL. */
const TERM_MS = 2_000
/** From SIGKILL on: a process that is in the middle of a system call ends after it. */
const KILL_MS = 10_000
/** From the request on: an agent answers what it has begun, for half a minute at most. */
const ASKED_MS = 40_000
const RETRY_MS = 20

/**
 * Ends the agent of this directory: SIGTERM, after two seconds SIGKILL. True when there was one;
 * resolves when its lock is free, which is after its last descriptor has been closed. An agent whose
 * process cannot be seen from here is asked. Throws when that fails, or when it does not end.
 */
export async function endAgent(dataDir: string): Promise<boolean> {
  const path = lockPath(dataDir)
  if (!existsSync(path)) return false
  const lock = openLock(path)
  try {
    if (tryLock(lock)) return false
    if (lockHolder(path) === undefined && !tryLock(lock)) {
      await askToEnd(dataDir, path, lock)
      return true
    }
    signalHolder(path, 'SIGTERM')
    if (await lockIsFree(lock, TERM_MS)) return true
    await killHolder(path, lock)
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
  if (!(await lockIsFree(lock, ASKED_MS))) throw fail('it goes on')
}

/**
 * SIGKILL to who holds the lock file, of which `lock` is a descriptor; resolves when the lock is
 * ours.
 */
export async function killHolder(path: string, lock: number): Promise<void> {
  const pid = signalHolder(path, 'SIGKILL')
  if (!(await lockIsFree(lock, KILL_MS))) throw new Error(`Cannot end the agent that holds ${path}: process ${pid} goes on after SIGKILL`)
}

async function lockIsFree(lock: number, withinMs: number): Promise<boolean> {
  const until = Date.now() + withinMs
  while (!tryLock(lock)) {
    if (Date.now() > until) return false
    await sleep(RETRY_MS)
  }
  return true
}

/** Undefined when it has ended meanwhile. */
function signalHolder(path: string, signal: 'SIGTERM' | 'SIGKILL'): number | undefined {
  const pid = lockHolder(path)
  if (pid === undefined) {
    const lock = openLock(path)
    try {
      if (tryLock(lock)) return undefined
    } finally {
      closeSync(lock)
    }
    throw new Error(`Cannot end the agent that holds ${path}: its process is not to be seen from this PID namespace; end it on the node`)
  }
  try {
    process.kill(pid, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
  return pid
}
