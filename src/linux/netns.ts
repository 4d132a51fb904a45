/** Network namespaces: see setns(2), network_namespaces(7), ioctl_ns(2). */
import { closeSync, constants, fstatSync, openSync, statSync, writeSync } from 'node:fs'
import { checked, ioctlNumber, setns } from './libc.ts'
import { CLONE_NEWNET, NS_GET_NSTYPE } from './uapi.ts'

/**
 * What a namespace is, whatever path leads to it: two paths may be one namespace, and one path
 * another namespace tomorrow.
 */
export interface NetnsId {
  dev: number
  ino: number
}

export const sameNetns = (one: NetnsId, other: NetnsId): boolean => one.ino === other.ino && one.dev === other.dev

/** The namespace at `path`; undefined when nothing is there. Throws what stat(2) says otherwise. */
export function netnsIdAt(path: string): NetnsId | undefined {
  const found = statSync(path, { throwIfNoEntry: false })
  return found && { dev: found.dev, ino: found.ino }
}

/** The namespace of the calling thread. */
export const ownNetnsId = (): NetnsId => netnsIdAt('/proc/thread-self/ns/net')!

/** A descriptor of a network namespace. While it is open, the namespace lives. */
export class Netns implements Disposable {
  readonly fd: number
  readonly id: NetnsId

  /**
   * Throws TypeError when `path` is no network namespace, and what open(2) says when it cannot be
   * opened.
   */
  constructor(path: string) {
    this.fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK) // a pipe is not waited for
    if (!isNetns(this.fd)) {
      closeSync(this.fd)
      throw new TypeError(`"${path}" is not a network namespace`)
    }
    const { dev, ino } = fstatSync(this.fd)
    this.id = { dev, ino }
  }

  /**
   * Runs `body` with the calling thread in this namespace.
   *
   * A socket or TUN device belongs for life to the namespace it was opened in, so open descriptors
   * here and use them outside. `body` cannot be async: the thread would be in the wrong namespace
   * for whatever ran at the await.
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
 * Runs `body` in a new network namespace, which is gone afterwards. Equivalent to: unshare --net
 */
export function inNewNetns<T>(body: () => T extends Promise<unknown> ? never : T): T {
  const here = openSync('/proc/thread-self/ns/net', 'r')
  try {
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
 * A process that cannot leave a pod's namespace must do nothing more: the next thing it did would
 * be done to the pod instead of the node.
 */
function comeBack(here: number): void {
  try {
    setns(here, CLONE_NEWNET)
  } catch (error) {
    try {
      writeSync(2, `Cannot leave a network namespace, so this process ends: ${(error as Error).message}\n`)
    } finally {
      process.kill(process.pid, 'SIGKILL')
    }
  }
}

function isNetns(fd: number): boolean {
  try {
    return ioctlNumber(fd, NS_GET_NSTYPE, 0) === CLONE_NEWNET
  } catch {
    return false
  }
}
