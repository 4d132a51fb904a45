/**
 * The network configuration list that a runtime reads: see "Network configuration format" in the
 * CNI specification.
 */
import { DEFAULT_DATA_DIR } from '../cni/data-dir.ts'
import type { Environment } from '../cni/environment.ts'
import { CniError, CODE } from '../cni/error.ts'
import { parseNetConf } from '../cni/netconf.ts'
import { parseIpam } from '../ipam/pool.ts'
import { IPV6_MIN_MTU } from '../link/plan.ts'
import { plainVersion } from './chained.ts'
import type { NodeConfig } from './config.ts'
import { withExtras } from './extras.ts'

export const NETWORK = 'tunlink'
export const CONFLIST = '10-tunlink.conflist'

export interface ConflistInput {
  config: NodeConfig
  podCIDRs: string[]
  /** Bytes. */
  mtu: number
  /** The executable `portmap` is in the runtime's directory. */
  portmap: boolean
  /** Versions of CNI, ascending, that every plugin of the chain speaks: see ChainedPlugins. */
  versions: string[]
}

/** The conflist's text. Throws CniError when the plugin would refuse it. */
export function conflist({ config, podCIDRs, mtu, portmap, versions }: ConflistInput): string {
  const ours = {
    type: 'tunlink',
    mtu,
    ...(config.peer === undefined ? {} : { peer: config.peer }),
    ...(config.annotations === undefined ? {} : { annotations: config.annotations }),
    ...(config.wire === undefined ? {} : { wire: config.wire }),
    ...(config.dataDir === DEFAULT_DATA_DIR ? {} : { dataDir: config.dataDir }),
    agent: { idleSeconds: 0 }, // the agent stays as long as the node is in the cluster
    ipMasq: false, // tunlinkd masquerades for all pods by one rule that knows the cluster
    capabilities: { ips: true, dns: true, bandwidth: true, 'io.kubernetes.cri.pod-annotations': true },
    ipam: poolOf(podCIDRs),
  }
  const cniVersion = plainVersion(versions)
  verify(ours, cniVersion)
  const own = withExtras(config, NETWORK, podCIDRs)
  const chained = hasOwnPortmap(config) || !portmap ? [] : [{ type: 'portmap', capabilities: { portMappings: true } }]
  const list = { cniVersion, cniVersions: versions, name: NETWORK, plugins: [ours, ...chained, ...own] }
  return `${JSON.stringify(list, null, 2)}\n`
}

const hasOwnPortmap = ({ plugins }: NodeConfig) => plugins.some(({ type }) => type === 'portmap')

/** Types of the plugins behind ours. */
export const chainedTypes = (config: NodeConfig, portmap: boolean): string[] => [
  ...(portmap && !hasOwnPortmap(config) ? ['portmap'] : []),
  ...config.plugins.map(({ type }) => type as string),
]

/** The pool of the node's pod CIDRs: one address from each. */
export const poolOf = (podCIDRs: string[]) => ({ type: 'tunlink', ranges: podCIDRs.map(subnet => [{ subnet }]) })

const AS_IF_ADDED: Environment = {
  command: 'ADD',
  containerID: 'check',
  netns: '',
  ifname: 'eth0',
  args: '',
  path: [],
  netnsOverride: false,
}

/** Has the plugin itself validate the configuration, before a pod uses it. */
function verify(plugin: { mtu: number; ipam: ReturnType<typeof poolOf> }, cniVersion: string): void {
  if (plugin.mtu < IPV6_MIN_MTU && plugin.ipam.ranges.flat().some(({ subnet }) => subnet.includes(':')))
    throw new CniError(CODE.invalidConfig, `"mtu" must be at least ${IPV6_MIN_MTU} with IPv6 pod CIDRs, not ${plugin.mtu}`)
  parseNetConf(JSON.stringify({ cniVersion, name: NETWORK, ...plugin }), AS_IF_ADDED)
  parseIpam(plugin.ipam)
}

/** The data directory that the installed conflist names. */
export function dataDirOf(text: string | undefined): string | undefined {
  try {
    const { plugins } = JSON.parse(text ?? '') as { plugins: { type: string; dataDir?: unknown }[] }
    const dataDir = plugins.find(({ type }) => type === 'tunlink')?.dataDir
    return typeof dataDir === 'string' ? dataDir : undefined
  } catch {
    return undefined
  }
}

/**
 * A warning about configurations in `directory` that sort before ours; undefined when there are
 * none.
 */
export function shadowedBy(before: string[], directory: string): string | undefined {
  if (before.length === 0) return undefined
  return `${before.join(', ')} in ${directory} sorts before ${CONFLIST}: the runtime uses that, not tunlink`
}
