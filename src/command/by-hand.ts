/** Links made by hand belong to a network of their own. */
import { closeSync, existsSync } from 'node:fs'
import { resolve } from 'node:path'
import type { Environment } from '../cni/environment.ts'
import { type NetConf, parseNetConf } from '../cni/netconf.ts'
import type { Attachment } from '../link/plan.ts'
import { openLock, tryLock } from '../linux/lock.ts'
import { netnsIdAt, ownNetnsId, sameNetns } from '../linux/netns.ts'
import type { Context } from '../verbs/context.ts'
import { CommandError, usageError } from './command.ts'

/** No runtime has a network of this name, so no runtime's GC removes these links. */
export const BY_HAND = 'by-hand'

const LIST = '"ip netns" lists those that have names'

/**
 * Path of the network namespace that `text` names: a path, a name of ip-netns(8), or a process ID.
 * Throws CommandError 2.
 */
export function netnsPath(text: string): string {
  const paths = text.includes('/') ? [text] : [`/run/netns/${text}`, `/proc/${text}/ns/net`]
  const found = paths.map(path => resolve(path)).find(existsSync)
  if (found !== undefined && sameNetns(netnsIdAt(found)!, ownNetnsId()))
    throw usageError(`${JSON.stringify(text)} is the node's own network namespace`, 'name that of a pod')
  if (found === undefined)
    throw usageError(
      `there is no network namespace ${JSON.stringify(text)}`,
      text.includes('/') ? LIST : `make it with "ip netns add ${text}"`,
    )
  return found
}

/** In the place of a container ID: the namespace, as a name that CNI allows. */
export const containerIDOf = (path: string): string =>
  path
    .replace(/^\/(var\/)?run\/netns\//, '')
    .replaceAll(/[^a-zA-Z0-9_.-]/g, '-')
    .replace(/^[^a-zA-Z0-9]+/, '')

/** The input of a verb, as if a runtime had called; `keys` are keys of a network configuration. */
export function contextOf(command: 'ADD' | 'DEL', attachment: Attachment, netns: string, keys: object): Context {
  const environment: Environment = { ...NOBODY, command, netns, containerID: attachment.containerID, ifname: attachment.ifname }
  const stdin = JSON.stringify({ cniVersion: '1.1.0', name: attachment.network, type: 'tunlink', ...keys })
  const conf: NetConf = parseNetConf(stdin, environment)
  return { environment, conf, stdin, started: performance.timeOrigin }
}

const LOCK_SECONDS = 30
const LOCK_AGAIN_MS = 20

/**
 * Runs `body` alone among all of `up` and `down` with this data directory. A runtime never makes
 * two calls on one attachment at a time, people do: one would undo what the other has made.
 */
export async function alone<T>(dataDir: string, body: () => Promise<T>): Promise<T> {
  const lock = openLock(`${dataDir}/by-hand.lock`)
  try {
    const until = performance.now() + LOCK_SECONDS * 1000
    while (!tryLock(lock)) {
      if (performance.now() > until)
        throw new CommandError(`another "up" or "down" has not ended for ${LOCK_SECONDS} s`, `"fuser ${dataDir}/by-hand.lock" names it`)
      await new Promise(resolve => setTimeout(resolve, LOCK_AGAIN_MS))
    }
    return await body()
  } finally {
    closeSync(lock)
  }
}

const NOBODY = { args: '', path: [], netnsOverride: false }
