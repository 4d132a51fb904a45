/** The conflist, last of all: a runtime takes it for the word that pods may come. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { ChainedPlugins, hasPortmap } from '../chained.ts'
import { CONFLIST, chainedTypes, conflist, shadowedBy } from '../conflist.ts'
import { configurationsBefore, installText } from '../install.ts'
import { log } from '../log.ts'
import type { NodeInfo } from '../node-info.ts'
import { podMtu } from '../program.ts'
import type { State } from '../state.ts'
import type { Part } from './part.ts'

/** How often the devices are asked what they carry. */
const MTU_MS = 5_000

export function conflistPart(state: State): Part {
  const { options, notifier } = state
  const { backend, cniBinDir, cniConfDir, nodeName } = options
  const path = join(cniConfDir, CONFLIST)
  const plugins = new ChainedPlugins(cniBinDir)
  let measured: { own: NodeInfo; atMs: number; mtu: number } | undefined

  function mostMtu(own: NodeInfo): number {
    if (measured?.own !== own || Date.now() - measured.atMs >= MTU_MS)
      measured = { own, atMs: Date.now(), mtu: podMtu(state.route, own, backend) }
    return measured.mtu
  }

  /** This node with pod CIDRs; undefined, and told, where there are none. */
  function ownWithPodCIDRs(): NodeInfo | undefined {
    const { own } = state
    if (own === undefined) {
      state.conflistInstalled = existsSync(path) // from before a restart without the API: pods may still come
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
      const most = mostMtu(own)
      const { mtu = most } = state.config
      if (mtu > most && backend !== 'none')
        throw new Error(`"mtu" must be at most ${most}, which --backend ${backend} can carry here, not ${mtu}`)
      const config = { ...state.config, dataDir: state.dataDir }
      const portmap = hasPortmap(cniBinDir)
      const { versions, faults } = await plugins.spoken(chainedTypes(config, portmap))
      notifier.warnWhile('ChainedPluginFault', faults.length > 0 ? `${faults.join('; ')}; CNI 1.1.0 is not offered` : undefined)
      const text = conflist({ config, podCIDRs: own.podCIDRs, mtu, portmap, versions })
      if (installText(text, path)) log.info('conflist installed', { path, podCIDRs: own.podCIDRs, mtu, versions })
      if (!state.conflistInstalled) state.wake('conditions')
      state.conflistInstalled = true
      notifier.warnWhile('ConflistShadowed', shadowedBy(configurationsBefore(cniConfDir, CONFLIST), cniConfDir))
    },
  }
}
