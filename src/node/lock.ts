/** One tunlinkd to a node, and no uninstall beside it: the kernel drops the lock with its holder, however it ends. */
import { mkdirSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { flock } from '../linux/libc.ts'
import { LOCK_EX, LOCK_NB } from '../linux/uapi.ts'

/** A descriptor of tunlinkd's lock file. */
export function openLock(dataDir: string): number {
  mkdirSync(dataDir, { recursive: true, mode: 0o700 })
  return openSync(join(dataDir, 'tunlinkd.lock'), 'a', 0o600)
}

/** False when somebody else has it. */
export function tryLock(lock: number): boolean {
  try {
    flock(lock, LOCK_EX | LOCK_NB)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
    return false
  }
}

export const sleep = (ms: number) => new Promise(resolve => setTimeout(resolve, ms))
