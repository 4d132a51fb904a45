/** Locks among processes: flock(2). The kernel drops a lock with its last holder, however that ends. */
import { openSync } from 'node:fs'
import { flock } from './libc.ts'
import { LOCK_EX, LOCK_NB } from './uapi.ts'

/** A descriptor of the lock file, made if it is missing. */
export const openLock = (path: string) => openSync(path, 'a', 0o600)

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
