/** What tunlinkd wants to know of a Kubernetes Node. */
import { canonicalCidr, type Family, familyOf, formatAddress, parseAddress } from '../address.ts'

/** Conditions of a Node that tunlinkd sets. */
const OURS = ['NetworkUnavailable', 'TunlinkRoutesReady']

export interface NodeInfo {
  name: string
  /** Canonical, of either family. */
  podCIDRs: string[]
  /** Canonical addresses of type InternalIP, in the API's order: the first is the primary one. */
  internalIPs: string[]
  /** Status by type of those conditions that tunlinkd sets, as the API has them. */
  conditions?: Record<string, string>
}

/** As much of a v1 Node as is read here. */
export interface V1NodeLike {
  metadata?: { name?: string; resourceVersion?: string }
  spec?: { podCIDR?: string; podCIDRs?: string[] }
  status?: { addresses?: { type: string; address: string }[]; conditions?: { type: string; status: string }[] }
}

/** Addresses and networks that cannot be parsed are left out. */
export function nodeInfo({ metadata, spec, status }: V1NodeLike): NodeInfo {
  const podCIDRs = spec?.podCIDRs ?? (spec?.podCIDR === undefined ? [] : [spec.podCIDR])
  const addresses = (status?.addresses ?? []).filter(({ type }) => type === 'InternalIP')
  const conditions = (status?.conditions ?? []).filter(({ type }) => OURS.includes(type)).map(({ type, status }) => [type, status])
  return {
    name: metadata?.name ?? '',
    podCIDRs: podCIDRs.map(canonicalCidr).filter(cidr => cidr !== undefined),
    internalIPs: addresses.map(({ address }) => canonicalAddress(address)).filter(address => address !== undefined),
    ...(conditions.length === 0 ? {} : { conditions: Object.fromEntries(conditions) }),
  }
}

/** The first of `addresses` of this family. */
export const firstOf = (family: Family, addresses: string[]) => addresses.find(address => familyOf(address) === family)

function canonicalAddress(text: string): string | undefined {
  const parsed = parseAddress(text)
  return parsed && formatAddress(parsed.bytes)
}
