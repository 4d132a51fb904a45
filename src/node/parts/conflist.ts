/**
 * Writes the conflist, after all other parts: a runtime takes it as the sign that pods may come.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { configurationsBefore } from '../../cni/conf-dir.ts'
import { ChainedPlugins, hasPortmap } from '../chained.ts'
import type { NodeConfig } from '../config.ts'
import { CONFLIST, chainedTypes, conflist, shadowedBy } from '../conflist.ts'
import { installText, signature } from '../install.ts'
import { log } from '../log.ts'
import type { NodeInfo } from '../node-info.ts'
import { podMtu } from '../program.ts'
import type { State } from '../state.ts'
import type { Part } from './part.ts'

/**
 * How often plugins and devices are looked at; configuration, Node and the file itself are looked
 * at each second.
 */
const LOOK_MS = 5_000

export function conflistPart(state: State): Part {
  const { options, notifier } = state
  const { backend, cniBinDir, cniConfDir, nodeName } = options
  const path = join(cniConfDir, CONFLIST)
  const plugins = new ChainedPlugins(cniBinDir)
  /** The inputs of the last conflist, and the file that was written. */
  let last: { config: NodeConfig; own: NodeInfo; file: string | undefined; atMs: number } | undefined

  const isAsMade = (config: NodeConfig, own: NodeInfo) =>
    last?.config === config &&
    last.own === own &&
    performance.now() - last.atMs < LOOK_MS &&
    last.file !== undefined &&
    signature(path) === last.file

  /** This node with its pod CIDRs; undefined, with a warning, when it has none. */
  function ownWithPodCIDRs(): NodeInfo | undefined {
    const { own } = state
    if (own === undefined) {
      // written before a restart without the API: pods may still come
      state.conflistInstalled = existsSync(path)
      if (state.nodes.known) notifier.tell('Warning', 'NodeMissing', `the Kubernetes API has no Node "${nodeName}"`)
      return undefined
    }
    notifier.forget('NodeMissing')
    const missing = `Node "${own.name}" has no pod CIDR: start kube-controller-manager with --allocate-node-cidrs and --cluster-cidr`
    notifier.warnWhile('PodCIDRMissing', own.podCIDRs.length === 0 ? missing : undefined)
    return own.podCIDRs.length === 0 ? undefined : own
  }

  return {
    name: 'conflist',
    everyMs: 1_000,
    async run() {
      if (!options.conflist || state.config === undefined || state.executable === undefined) return
      const own = ownWithPodCIDRs()
      if (own === undefined || !(state.agentReady || state.conflistInstalled)) return
      const configured = state.config
      if (isAsMade(configured, own)) return
      const most = podMtu(state.route, own, backend)
      const { mtu = most } = configured
      if (mtu > most && backend !== 'none')
        throw new Error(`"mtu" must be at most ${most}, which --backend ${backend} can carry here, not ${mtu}`)
      const config = { ...configured, dataDir: state.dataDir }
      const portmap = hasPortmap(cniBinDir)
      const { versions, faults } = await plugins.spoken(chainedTypes(config, portmap))
      notifier.warnWhile('ChainedPluginFault', faults.length > 0 ? `${faults.join('; ')}; CNI 1.1.0 is not offered` : undefined)
      const text = conflist({ config, podCIDRs: own.podCIDRs, mtu, portmap, versions })
      if (installText(text, path)) log.info('conflist installed', { path, podCIDRs: own.podCIDRs, mtu, versions })
      last = { config: configured, own, file: signature(path), atMs: performance.now() }
      if (!state.conflistInstalled) state.wake('conditions')
      state.conflistInstalled = true
      notifier.warnWhile('ConflistShadowed', shadowedBy(configurationsBefore(cniConfDir, CONFLIST), cniConfDir))
    },
  }
}
