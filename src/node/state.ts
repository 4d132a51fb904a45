/**
 * The state that the parts of tunlinkd share. Each field below the blank line is written by the
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
  /** Fixed until tunlinkd is restarted, whatever the configuration says meanwhile. */
  readonly dataDir: string
  readonly kube: Kube
  readonly notifier: Notifier
  readonly route: NetlinkSocket
  readonly netfilter: NetlinkSocket
  /** Written when the API reports a change. */
  readonly nodes: Nodes
  /** This node; undefined until the API has reported it. */
  readonly own: NodeInfo | undefined
  /** Runs parts at once. */
  wake(...parts: string[]): void

  /** config: the last good configuration; undefined until there was one. */
  config?: NodeConfig
  /** executable: path of the installed plugin; undefined until it is installed. */
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
