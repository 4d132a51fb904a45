/**
 * Extra interfaces of pods: plugins of type "tunlink" in `plugins` of config.json. Each has its own
 * `ifName` and `ipam`, and shares network and data directory with the pods' own interface.
 */
import { familyOf, networkSize, parseCidr, toNumber, withoutHostBits } from '../address.ts'
import { allowedSettings } from '../cni/annotations.ts'
import { DEFAULT_DATA_DIR } from '../cni/data-dir.ts'
import type { Environment } from '../cni/environment.ts'
import { CniError } from '../cni/error.ts'
import { optionalObject, refuse, type Values } from '../cni/must-be.ts'
import { BUILT_IN_IPAM, type NetConf, parseNetConf } from '../cni/netconf.ts'
import { describeRange, parseIpam } from '../ipam/pool.ts'
import { IPV6_MIN_MTU } from '../link/plan.ts'
import type { Route } from '../linux/route.ts'
import type { NodeConfig } from './config.ts'

/** STATUS reads all of a configuration but what is a pod's. */
const STATUS: Environment = { command: 'STATUS', containerID: '', netns: '', ifname: '', args: '', path: [], netnsOverride: false }

/** Interfaces that every pod has: Kubernetes' runtimes call the pod's own `eth0`. */
const TAKEN = ['lo', 'eth0']

const ANNOTATIONS_CAPABILITY = 'io.kubernetes.cri.pod-annotations'

/**
 * `plugins` with what extra interfaces share with ours. Throws CniError for one with which every
 * ADD would fail: `plugins[0]: "ifName" ...`, by its place in config.json.
 */
export function withExtras({ plugins, dataDir }: NodeConfig, network: string, podCIDRs: string[]): NodeConfig['plugins'] {
  const taken = [...TAKEN]
  return plugins.map((plugin, index) => {
    if (plugin.type !== 'tunlink') return plugin
    const extra = {
      ...plugin,
      ...(plugin.dataDir || dataDir === DEFAULT_DATA_DIR ? {} : { dataDir }),
      agent: plugin.agent ?? { idleSeconds: 0 },
    }
    try {
      const conf = parseNetConf(JSON.stringify({ ...extra, cniVersion: '1.1.0', name: network }), STATUS)
      if (conf.dataDir !== dataDir) throw refuse('dataDir', `${JSON.stringify(dataDir)}, as of all of the network`, conf.dataDir)
      verifyName(conf.ifName, taken)
      verifyAnnotations(extra)
      verifyPool(conf, podCIDRs)
    } catch (error) {
      if (!(error instanceof CniError)) throw error
      throw new CniError(error.code, `plugins[${index}]: ${error.message}`, error.details)
    }
    return extra
  })
}

function verifyName(ifName: string | undefined, taken: string[]): void {
  if (ifName === undefined || taken.includes(ifName))
    throw refuse('ifName', `a name for an extra interface that the pod does not have yet (${taken.join(', ')})`, ifName)
  taken.push(ifName)
}

/** Without the capability a runtime hands no annotation over. */
function verifyAnnotations(plugin: Values): void {
  if (plugin.annotations === undefined || plugin.annotations === null || allowedSettings(plugin).length === 0) return
  const capabilities = optionalObject(plugin, 'capabilities')
  if (capabilities?.[ANNOTATIONS_CAPABILITY] !== true)
    throw refuse('capabilities', `{"${ANNOTATIONS_CAPABILITY}": true} where "annotations" has any`, plugin.capabilities)
}

/** Pods have the addresses of the pod CIDRs already, and a default route for each family. */
function verifyPool({ ipam, mtu }: NetConf, podCIDRs: string[]): void {
  if (ipam === undefined) throw refuse('ipam', 'an object with a "type"', ipam)
  if (ipam.type !== BUILT_IN_IPAM) return
  const { sets, routes } = parseIpam(ipam)
  const ranges = sets.flat()
  const isSecondDefault = ({ dst, priority, table }: Route) =>
    parseCidr(dst)!.prefix === 0 && !priority && !table && podCIDRs.some(podCIDR => familyOf(podCIDR) === familyOf(dst))
  if (Array.isArray(ipam.routes) && routes.some(isSecondDefault))
    throw refuse('ipam.routes', 'without a second default route of a family, or with a "priority" or "table" for it', ipam.routes)
  if (mtu !== undefined && mtu < IPV6_MIN_MTU && ranges.some(({ family }) => family === 6))
    throw refuse('mtu', `at least ${IPV6_MIN_MTU} with IPv6 ranges in "ipam"`, mtu)
  for (const podCIDR of podCIDRs) {
    const { family, bytes, prefix } = parseCidr(podCIDR)!
    const first = toNumber(withoutHostBits(bytes, prefix))
    const last = first + networkSize(family, prefix) - 1n
    const shared = ranges.find(range => range.family === family && range.first <= last && range.last >= first)
    if (shared !== undefined) throw refuse('ipam', `without addresses of the pod CIDR ${podCIDR}`, describeRange(shared))
  }
}
