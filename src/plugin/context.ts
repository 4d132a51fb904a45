/** What every verb is given, and the steps that several of them share. */
import { readFileSync, statSync } from 'node:fs'
import { delegate, parseLease } from '../cni/delegate.ts'
import type { Environment } from '../cni/environment.ts'
import { CniError, CODE } from '../cni/error.ts'
import type { NetConf } from '../cni/netconf.ts'
import type { Result } from '../cni/result.ts'
import type { Attachment } from '../link/plan.ts'

export interface Context {
  environment: Environment
  conf: NetConf
  /** The configuration as it came, for delegates. */
  stdin: string
}

/** The link this call is about: `ifName` of the configuration names an extra interface in a chain. */
export const attachmentOf = ({ environment, conf }: Context): Attachment => ({
  network: conf.name,
  containerID: environment.containerID,
  ifname: conf.ifName ?? environment.ifname,
})

/** The name that the configuration gives the built-in IPAM. */
export const BUILT_IN_IPAM = 'tunlink'

export const isDelegated = (conf: NetConf) => conf.ipam !== undefined && conf.ipam.type !== BUILT_IN_IPAM

/** Runs the configured IPAM plugin with the whole configuration; its result for ADD, undefined otherwise. */
export function delegateIpam({ conf, stdin, environment }: Context, command: string): Result | undefined {
  const stdout = delegate(command, conf.ipam!.type, stdin, environment.path)
  return command === 'ADD' ? parseLease(conf.ipam!.type, stdout, conf.cniVersion) : undefined
}

/**
 * Throws CniError 8 unless `netns` is a network namespace other than this process's own: checked before anything is made, for a
 * link made in the node's namespace would take the node off its network.
 */
export function verifyNetns({ netns, netnsOverride }: Environment): void {
  const own = statSync('/proc/self/ns/net')
  let given: typeof own
  try {
    given = statSync(netns)
  } catch (error) {
    throw new CniError(CODE.invalidNetns, `CNI_NETNS "${netns}" cannot be opened`, (error as Error).message)
  }
  if (given.dev !== own.dev) throw new CniError(CODE.invalidNetns, `CNI_NETNS "${netns}" is not a network namespace`)
  if (given.ino === own.ino && !netnsOverride) {
    throw new CniError(CODE.invalidNetns, "plugin's netns and netns from CNI_NETNS should not be the same")
  }
}

/** Standard input whole. Throws CniError 5. */
export function readStdin(): string {
  try {
    return readFileSync(0, 'utf8')
  } catch (error) {
    throw new CniError(CODE.io, `error reading from stdin: ${(error as Error).message}`)
  }
}
