/** Network namespaces: see setns(2), network_namespaces(7), ioctl_ns(2). */
import { closeSync, constants, fstatSync, openSync, statSync } from 'node:fs'
import { endNow } from './last-words.ts'
import { checked, ioctlNumber, setns } from './libc.ts'
import { CLONE_NEWNET, NS_GET_NSTYPE } from './uapi.ts'

/**
 * The identity of a namespace (device and inode). Two paths may lead to one namespace, and a path
 * may lead to another namespace later.
 */
export interface NetnsId {
  dev: number
  ino: number
}

export const sameNetns = (one: NetnsId, other: NetnsId): boolean => one.ino === other.ino && one.dev === other.dev

/**
 * The identity of the namespace at `path`; undefined when nothing is there. Throws other errors of
 * stat(2).
 */
export function netnsIdAt(path: string): NetnsId | undefined {
  const found = statSync(path, { throwIfNoEntry: false })
  return found && { dev: found.dev, ino: found.ino }
}

/** The identity of the calling thread's namespace. */
export const ownNetnsId = (): NetnsId => netnsIdAt('/proc/thread-self/ns/net')!

/** A descriptor of a network namespace. While it is open, the namespace stays. */
export class Netns implements Disposable {
  readonly fd: number
  readonly id: NetnsId

  /**
   * Throws TypeError when `path` is not a network namespace, and the error of open(2) when it
   * cannot be opened.
   */
  constructor(path: string) {
    this.fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK) // a FIFO does not block
    try {
      if (!isNetns(this.fd)) throw new TypeError(`"${path}" is not a network namespace`)
      const { dev, ino } = fstatSync(this.fd)
      this.id = { dev, ino }
    } catch (error) {
      closeSync(this.fd)
      throw error
    }
  }

  /**
   * Runs `body` with the calling thread in this namespace.
   * A socket or TUN device belongs for life to the namespace in which it was opened: so open
   * descriptors in `body`, and use them outside. `body` cannot be async: other code that runs
   * during an await would be in the wrong namespace.
   */
  enter<T>(body: () => T extends Promise<unknown> ? never : T): T {
    const here = openSync('/proc/thread-self/ns/net', 'r')
    try {
      setns(this.fd, CLONE_NEWNET)
      try {
        return body()
      } finally {
        comeBack(here)
      }
    } finally {
      closeSync(here)
    }
  }

  [Symbol.dispose](): void {
    closeSync(this.fd)
  }
}

/** Runs `body` in the network namespace at `path`: see Netns. */
export function inNetns<T>(path: string, body: () => T extends Promise<unknown> ? never : T): T {
  using netns = new Netns(path)
  return netns.enter(body)
}

const unshare = checked('unshare', ['int'])

/**
 * Runs `body` in a new network namespace, which is gone afterwards. Equivalent to: unshare --net.
 * Throws the error of setns(2) or unshare(2).
 */
export function inNewNetns<T>(body: () => T extends Promise<unknown> ? never : T): T {
  const here = openSync('/proc/thread-self/ns/net', 'r')
  try {
    setns(here, CLONE_NEWNET) // tried first: a thread that may not come back must not leave
    unshare(CLONE_NEWNET)
    try {
      return body()
    } finally {
      comeBack(here)
    }
  } finally {
    closeSync(here)
  }
}

/**
 * A process that cannot leave a pod's namespace must end: whatever it did next would be done to the
 * pod instead of the node.
 */
function comeBack(here: number): void {
  for (let tries = 1; ; tries++) {
    try {
      setns(here, CLONE_NEWNET)
      return
    } catch (error) {
      if (tries < MOST_TRIES) continue // the kernel may be out of memory for a moment
      endNow(new Error(`Cannot leave a network namespace, so this process ends: ${(error as Error).message}`))
    }
  }
}

const MOST_TRIES = 10

/**
 * Throws SyscallError when it cannot be asked. A path that is not a namespace counts as a namespace
 * that is gone.
 */
function isNetns(fd: number): boolean {
  try {
    return ioctlNumber(fd, NS_GET_NSTYPE, 0) === CLONE_NEWNET
  } catch (error) {
    if (NO_NAMESPACE.includes((error as NodeJS.ErrnoException).code ?? '')) return false
    throw error
  }
}

/** The errnos of files, directories and devices that do not know an ioctl. */
const NO_NAMESPACE = ['ENOTTY', 'EINVAL', 'EBADFD', 'ENOSYS', 'EOPNOTSUPP']
