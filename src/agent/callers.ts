/**
 * The process that asks the agent for an ADD or DEL. It holds the pod's network namespace open, and
 * the agent opens the namespace through that descriptor: the caller may live in another mount
 * namespace.
 */
import { fstatSync } from 'node:fs'
import { CniError, CODE } from '../cni/error.ts'
import { Netns } from '../linux/netns.ts'
import type { Caller } from './protocol.ts'

/** The path by which the caller's network namespace can be opened. */
export const pathOf = ({ pid, netnsFd }: Caller) => `/proc/${pid}/fd/${netnsFd}`

/**
 * False when the caller has ended (a zombie has no descriptors), or is in a PID namespace that this
 * process cannot see.
 */
export function isThere(caller: Caller): boolean {
  try {
    using netns = new Netns(pathOf(caller))
    return fstatSync(netns.fd).ino === caller.ino
  } catch {
    return false
  }
}

/** Thrown as an error with `unseen`: a caller that still lives then does the work itself. */
export function verifyCaller(caller: Caller): void {
  if (isThere(caller)) return
  const error = new CniError(CODE.tryAgainLater, `the agent cannot see the network namespace of process ${caller.pid}`)
  throw Object.assign(error, { unseen: true })
}
