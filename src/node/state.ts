/**
 * What the parts of tunlinkd know in common. Behind the blank line each field is written by the
 * part that is named beside it.
 */
import type { NetlinkSocket } from '../linux/netlink.ts'
import type { NodeConfig } from './config.ts'
import type { Collected } from './garbage.ts'
import type { Kube } from './kube.ts'
import type { NodeInfo } from './node-info.ts'
import type { Nodes } from './nodes.ts'
import type { Notifier } from './notify.ts'
import type { Options } from './options.ts'
import type { Programmed } from './program.ts'

export interface State {
  readonly options: Options
  /** Stays until tunlinkd is restarted, whatever the configuration says meanwhile. */
  readonly dataDir: string
  readonly kube: Kube
  readonly notifier: Notifier
  readonly route: NetlinkSocket
  readonly netfilter: NetlinkSocket
  /** Written by what the API says. */
  readonly nodes: Nodes
  /** This node; undefined while the API has not told of it. */
  readonly own: NodeInfo | undefined
  /** Lets parts run at once. */
  wake(...parts: string[]): void

  /** config: the last good one; undefined until there was one. */
  config?: NodeConfig
  /** executable: path of the installed plugin; undefined until it is there. */
  executable?: string
  /** agent */
  agentReady: boolean
  agentStarts: number
  /** routes */
  programmed?: Programmed
  /** conflist */
  conflistInstalled: boolean
  /** garbage */
  collected: Collected
}
