/** The parts of a Kubernetes Node that tunlinkd uses. */
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

/** The fields of a v1 Node that are read here, as the API, or a proxy before it, answered them. */
export interface V1NodeLike {
  metadata?: { name?: string; resourceVersion?: string }
  spec?: { podCIDR?: string; podCIDRs?: string[] }
  status?: { addresses?: { type: string; address: string }[]; conditions?: { type: string; status: string }[] }
}

/** A field of another type counts as absent; so do invalid addresses and networks. */
export function nodeInfo(node: V1NodeLike): NodeInfo {
  const [metadata, spec, status] = (['metadata', 'spec', 'status'] as const).map(key => objectOf(objectOf(node)[key]))
  const podCIDRs = spec!.podCIDRs ?? [spec!.podCIDR]
  const addresses = listOf(status!.addresses).map(objectOf)
  const conditions = listOf(status!.conditions).map(objectOf)
  const ours = conditions.flatMap(({ type, status }) => (OURS.includes(textOf(type)) ? [[textOf(type), textOf(status)]] : []))
  return {
    name: textOf(metadata!.name),
    podCIDRs: listOf(podCIDRs)
      .map(cidr => canonicalCidr(textOf(cidr)))
      .filter(cidr => cidr !== undefined),
    internalIPs: addresses
      .filter(({ type }) => type === 'InternalIP')
      .map(({ address }) => canonicalAddress(textOf(address)))
      .filter(address => address !== undefined),
    ...(ours.length === 0 ? {} : { conditions: Object.fromEntries(ours) }),
  }
}

/** The first of `addresses` of this family. */
export const firstOf = (family: Family, addresses: string[]) => addresses.find(address => familyOf(address) === family)

const objectOf = (value: unknown): Record<string, unknown> => (typeof value === 'object' && value !== null ? { ...value } : {})
const listOf = (value: unknown): unknown[] => (Array.isArray(value) ? value : [])
const textOf = (value: unknown): string => (typeof value === 'string' ? value : '')

function canonicalAddress(text: string): string | undefined {
  const parsed = parseAddress(text)
  return parsed && formatAddress(parsed.bytes)
}
