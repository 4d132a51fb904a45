import { constants, fstatSync, openSync } from 'node:fs'
import type { Caller } from '../agent/protocol.ts'
import type { Environment } from '../cni/environment.ts'

/**
 * Opens the pod's namespace, so that the agent finds it through this process; undefined when it
 * cannot be opened. A FIFO at the path does not block.
 */
export function callerOf({ netns }: Environment): Caller | undefined {
  if (netns === '') return undefined
  try {
    const netnsFd = openSync(netns, constants.O_RDONLY | constants.O_NONBLOCK)
    return { pid: process.pid, netnsFd, ino: fstatSync(netnsFd).ino }
  } catch {
    return undefined
  }
}
