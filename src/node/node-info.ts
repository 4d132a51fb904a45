/** What tunlinkd wants to know of a Kubernetes Node. */
import { canonicalCidr, type Family, familyOf, formatAddress, parseAddress } from '../address.ts'

export interface NodeInfo {
  name: string
  /** Canonical, of either family. */
  podCIDRs: string[]
  /** Canonical addresses of type InternalIP, in the API's order: the first is the primary one. */
  internalIPs: string[]
  /** Status of the condition NetworkUnavailable; undefined when it has none. */
  networkUnavailable?: string
}

/** As much of a v1 Node as is read here. */
export interface V1NodeLike {
  metadata?: { name?: string }
  spec?: { podCIDR?: string; podCIDRs?: string[] }
  status?: { addresses?: { type: string; address: string }[]; conditions?: { type: string; status: string }[] }
}

/** Addresses and networks that cannot be parsed are left out. */
export function nodeInfo({ metadata, spec, status }: V1NodeLike): NodeInfo {
  const podCIDRs = spec?.podCIDRs ?? (spec?.podCIDR === undefined ? [] : [spec.podCIDR])
  const addresses = (status?.addresses ?? []).filter(({ type }) => type === 'InternalIP')
  const condition = status?.conditions?.find(({ type }) => type === 'NetworkUnavailable')?.status
  return {
    name: metadata?.name ?? '',
    podCIDRs: podCIDRs.map(canonicalCidr).filter(cidr => cidr !== undefined),
    internalIPs: addresses.map(({ address }) => canonicalAddress(address)).filter(address => address !== undefined),
    ...(condition === undefined ? {} : { networkUnavailable: condition }),
  }
}

/** The first of `addresses` of this family. */
export const firstOf = (family: Family, addresses: string[]) => addresses.find(address => familyOf(address) === family)

function canonicalAddress(text: string): string | undefined {
  const parsed = parseAddress(text)
  return parsed && formatAddress(parsed.bytes)
}
