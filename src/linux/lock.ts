/**
 * Locks between processes: flock(2). The kernel releases a lock when its last holder ends, in
 * whatever way.
 */
import { closeSync, constants, ftruncateSync, lstatSync, openSync, readdirSync, readFileSync, statSync, writeSync } from 'node:fs'
import { flock } from './libc.ts'
import { LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN } from './uapi.ts'

const { O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants

/**
 * Opens the lock file, and makes it if it is missing. Throws ELOOP for a symbolic link, ENXIO for a
 * FIFO.
 */
export const openLock = (path: string) => openSync(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK, 0o600)

/** False when another process holds the lock. */
export const tryLock = (lock: number): boolean => attempt(lock, LOCK_EX)

/**
 * True when a process holds the lock. This takes a shared lock for a moment: other askers can do so
 * at the same time, and lockHolder() does not mistake it for the lock.
 */
export function isLocked(lock: number): boolean {
  if (!attempt(lock, LOCK_SH)) return true
  flock(lock, LOCK_UN)
  return false
}

function attempt(lock: number, operation: number): boolean {
  try {
    flock(lock, operation | LOCK_NB)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
    return false
  }
}

/**
 * Writes this process's ID into the lock file that it holds. On a full disk the file stays empty:
 * lockHolder() does not depend on it.
 */
export function writeHolder(lock: number): void {
  try {
    ftruncateSync(lock, 0)
    writeSync(lock, `${process.pid}\n`)
  } catch (error) {
    if (!['ENOSPC', 'EDQUOT', 'EIO'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error
  }
}

/**
 * ID of the process that holds the lock on the file `path`; undefined when none does, or when the
 * process is in a PID namespace that cannot be seen. The file and /proc/locks give candidates only,
 * as an ID may have been given to another process: each candidate is asked for the lock itself.
 */
export function lockHolder(path: string): number | undefined {
  const file = lstatSync(path, { throwIfNoEntry: false })
  // A symbolic link may lead to another daemon's lock.
  if (!file?.isFile()) return undefined
  const written = Number(readNoFollow(path).trim())
  const candidates = [...(Number.isSafeInteger(written) && written > 0 ? [written] : []), ...lockersOf(file.ino, procLocks())]
  return candidates.find(pid => holdsLock(pid, file))
}

function readNoFollow(path: string): string {
  const fd = openSync(path, O_RDONLY | O_NOFOLLOW)
  try {
    return readFileSync(fd, 'utf8')
  } finally {
    closeSync(fd)
  }
}

/**
 * IDs of processes that hold an exclusive flock on an inode of this number, from the text of
 * /proc/locks: see proc_locks(5). The device is not compared: some file systems show another one
 * there than stat(2) returns.
 */
export function lockersOf(inode: number, locks: string): number[] {
  return [...locks.matchAll(/^\d+: FLOCK +\S+ +WRITE (\d+) [^:]+:[^:]+:(\d+) /gm)]
    .filter(([, , found]) => Number(found) === inode)
    .map(([, pid]) => Number(pid))
    .filter(pid => pid > 0)
}

function procLocks(): string {
  try {
    return readFileSync('/proc/locks', 'utf8')
  } catch {
    return '' // this kernel or sandbox has no such file
  }
}

/**
 * True when the descriptor of the process refers to the file and has the exclusive flock, as its
 * fdinfo says: see proc_pid_fdinfo(5).
 */
function holdsLock(pid: number, file: { dev: number; ino: number }): boolean {
  try {
    return readdirSync(`/proc/${pid}/fd`).some(fd => {
      const open = statSync(`/proc/${pid}/fd/${fd}`, { throwIfNoEntry: false })
      if (open?.ino !== file.ino || open.dev !== file.dev) return false
      return /FLOCK +\S+ +WRITE/.test(readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8'))
    })
  } catch {
    return false // it has ended meanwhile, or may not be looked at
  }
}
