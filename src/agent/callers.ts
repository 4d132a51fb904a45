/**
 * Who asks the agent for an ADD or DEL: a process that holds the pod's network namespace open. The
 * agent reaches the namespace through that descriptor, whatever mount namespace the caller is in.
 */
import { fstatSync } from 'node:fs'
import { CniError, CODE } from '../cni/error.ts'
import { Netns } from '../linux/netns.ts'
import type { Caller } from './protocol.ts'

/** Where the caller's network namespace is opened. */
export const pathOf = ({ pid, netnsFd }: Caller) => `/proc/${pid}/fd/${netnsFd}`

/**
 * False when the caller has ended (a zombie has no descriptors), or cannot be seen from this
 * process's PID namespace.
 */
export function isThere(caller: Caller): boolean {
  try {
    using netns = new Netns(pathOf(caller))
    return fstatSync(netns.fd).ino === caller.ino
  } catch {
    return false
  }
}

/**
 * Thrown as an error with `unseen`: a caller that lives then does it itself, and one that does not
 * will not.
 */
export function verifyCaller(caller: Caller): void {
  if (isThere(caller)) return
  const error = new CniError(CODE.tryAgainLater, `the agent cannot see the network namespace of process ${caller.pid}`)
  throw Object.assign(error, { unseen: true })
}
