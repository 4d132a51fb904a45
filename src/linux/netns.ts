/** Network namespaces: see setns(2), network_namespaces(7), ioctl_ns(2). */
import { closeSync, openSync } from 'node:fs'
import { ioctlNumber, setns } from './libc.ts'
import { CLONE_NEWNET, NS_GET_NSTYPE } from './uapi.ts'

/**
 * Runs `body` with the calling thread in the network namespace at `path`.
 *
 * A socket or TUN device belongs for life to the namespace it was opened in, so open descriptors here and use them outside. `body`
 * cannot be async: the thread would be in the wrong namespace for whatever ran at the await. Throws TypeError when `path` is no
 * network namespace, and what open(2) says when it is not there.
 */
export function inNetns<T>(path: string, body: () => T extends Promise<unknown> ? never : T): T {
  const here = openSync('/proc/thread-self/ns/net', 'r')
  try {
    const there = openSync(path, 'r')
    try {
      if (!isNetns(there)) throw new TypeError(`"${path}" is not a network namespace`)
      setns(there, CLONE_NEWNET)
    } finally {
      closeSync(there)
    }
    try {
      return body()
    } finally {
      setns(here, CLONE_NEWNET)
    }
  } finally {
    closeSync(here)
  }
}

function isNetns(fd: number): boolean {
  try {
    return ioctlNumber(fd, NS_GET_NSTYPE, 0) === CLONE_NEWNET
  } catch {
    return false
  }
}
