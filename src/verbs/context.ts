/** The arguments of every verb, and steps that several verbs share. */
import type { Environment } from '../cni/environment.ts'
import type { NetConf } from '../cni/netconf.ts'
import type { Attachment } from '../link/plan.ts'

export interface Context {
  environment: Environment
  conf: NetConf
  /** The configuration's text, for delegates. */
  stdin: string
  /** When the plugin's process began, in ms since the epoch. */
  started: number
}

/**
 * The link of this call: `ifName` of the configuration names an extra interface in a chain.
 */
export function attachmentOf({ environment, conf }: Pick<Context, 'environment' | 'conf'>): Attachment {
  const { containerID, ifname: cniIfname } = environment
  return { network: conf.name, containerID, ifname: conf.ifName ?? cniIfname, cniIfname }
}
