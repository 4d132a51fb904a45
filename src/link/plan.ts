/**
 * What one attachment needs in the kernel, as plain JSON: made here from configuration and lease by
 * a pure function, carried to the agent, written to disk as the record, and read back by CHECK, DEL
 * and GC.
 *
 * Why a peer and not a subnet: a TUN device is a point-to-point link with one neighbour. `local
 * peer remote/32` says so, needs no shared subnet, and makes the kernel add the host route by
 * itself at both ends.
 */

import { bits, familyOf, holds, hostCidr, parseCidr } from '../address.ts'
import type { Rate } from '../cni/bandwidth.ts'
import { CniError, CODE } from '../cni/error.ts'
import type { NetConf } from '../cni/netconf.ts'
import { fnv1a } from '../fnv.ts'
import type { Address } from '../linux/address-messages.ts'
import type { NetnsId } from '../linux/netns.ts'
import type { Route } from '../linux/route.ts'
import type { Shape } from '../linux/token-bucket.ts'
import { RT_SCOPE_LINK } from '../linux/uapi.ts'
import type { Wire } from '../wire/wire.ts'

/** One attachment: what CNI identifies a link by. `ifname` is the name inside the pod. */
export interface Attachment {
  network: string
  containerID: string
  ifname: string
  /**
   * CNI_IFNAME, by which the runtime knows the link: `ifname`, unless the configuration's `ifName`
   * names an extra interface. Absent where it is not known, as in records of 0.1.0.
   */
  cniIfname?: string
}

/** One end of a link. */
export interface EndPlan {
  ifname: string
  addresses: Address[]
  routes: Route[]
}

/** The version of a record's shape: 1 (of tunlink 0.1.0) has no `version`, `wire` and `netnsId`. */
export const PLAN_VERSION = 2

export interface LinkPlan extends Attachment {
  version: number
  farEnd: 'host' | 'attach'
  /** What carries the packets; absent for `attach`. */
  wire?: Wire
  /** The call that makes the link: when its process began, in ms since the epoch. */
  started?: number
  /** `namespace/name` of the Kubernetes pod; absent when the runtime names none. */
  podName?: string
  /** Path of the pod's network namespace, as the runtime gave it. */
  netns: string
  /** Device and inode of that namespace. */
  netnsId?: NetnsId
  /** Bytes. */
  mtu: number
  txQLen?: number
  /** Numeric uid and gid that may attach (`attach` only). */
  owner?: number
  group?: number
  multiQueue: boolean
  pod: EndPlan
  /** The node's end; absent for the far end `attach`. */
  host?: EndPlan
  /** Addresses that are masqueraded when they leave the node. */
  masquerade: string[]
  /** The most that passes in each direction; absent: unlimited. */
  toPod?: Shape
  fromPod?: Shape
}

/**
 * The IPAM's answer, in the shape of a CNI result: addresses with prefix, routes without interface.
 */
export interface Leased {
  ips: { address: string; gateway?: string; peer?: string }[]
  routes: Route[]
}

/**
 * The name of the node's end. It is derived, so that a retry or a clean-up finds the device without
 * a record.
 */
export function hostIfname({ network, containerID, ifname }: Attachment): string {
  return `tl${fnv1a(`${network}\0${containerID}\0${ifname}`).slice(3)}`
}

/** Below this MTU the kernel removes IPv6 from a device: RFC 8200, section 5. */
export const IPV6_MIN_MTU = 1280

/** Bytes: the Ethernet header, which counts where a kernel wire's packets are limited. */
const ETH_HLEN = 14

const DEFAULT_PEER = { 4: '169.254.1.1', 6: 'fe80::1' }

/**
 * Inputs that are not in the configuration: where the pod is, what carries its packets, and the MTU
 * (bytes), which may be the node's.
 */
export interface Circumstances {
  netns: string
  netnsId: NetnsId
  wire: Wire | undefined
  mtu: number
  podName?: string | undefined
  /** See LinkPlan. */
  started?: number
}

/** Throws CniError 7 when configuration and lease do not fit together. */
export function planLink(
  conf: NetConf,
  attachment: Attachment,
  { netns, netnsId, wire, mtu, podName, started }: Circumstances,
  lease: Leased,
): LinkPlan {
  if (lease.ips.length === 0)
    throw new CniError(CODE.invalidConfig, 'no IP address: set "ipam", or request addresses with the capability "ips"')
  const ends = lease.ips.map(ip => addressEnds(conf, ip))
  if (mtu < IPV6_MIN_MTU && ends.some(end => end.family === 6)) {
    throw new CniError(CODE.invalidConfig, `${conf.mtuSource ?? '"mtu"'} must be at least ${IPV6_MIN_MTU} with IPv6 addresses, not ${mtu}`)
  }
  refuseUnusedPeer(conf, ends)
  const plan: LinkPlan = {
    version: PLAN_VERSION,
    ...attachment,
    farEnd: conf.farEnd,
    netns,
    netnsId,
    mtu,
    multiQueue: conf.multiQueue,
    pod: {
      ifname: attachment.ifname,
      addresses: ends.map(end => end.pod),
      routes: [...farEndRoutes(ends), ...podRoutes(lease.routes, ends)],
    },
    masquerade: conf.ipMasq ? ends.map(end => end.pod.local) : [],
  }
  if (wire !== undefined) plan.wire = wire
  if (podName !== undefined) plan.podName = podName
  if (started !== undefined) plan.started = started
  if (conf.txQLen !== undefined) plan.txQLen = conf.txQLen
  if (conf.owner !== undefined) plan.owner = conf.owner
  if (conf.group !== undefined) plan.group = conf.group
  const { ingress, egress } = conf.bandwidth
  if (ingress !== undefined) plan.toPod = shapeOf(ingress, mtu)
  if (egress !== undefined) plan.fromPod = shapeOf(egress, mtu)
  if (conf.farEnd === 'host') plan.host = { ifname: hostIfname(attachment), ...hostEnd(ends) }
  return plan
}

/** A configured peer may be for pools to come; a pod asks for the link that it gets. */
function refuseUnusedPeer({ peer, peerSource }: NetConf, ends: AddressPair[]): void {
  if (peerSource === undefined) return
  const unused = peer.find(({ address }) => !ends.some(({ family }) => family === familyOf(address)))
  if (unused !== undefined)
    throw new CniError(
      CODE.invalidConfig,
      `${peerSource} has ${unused.address}, but the link has no IPv${familyOf(unused.address)} address`,
    )
}

/** Converts bits to bytes. A packet larger than the burst would never pass. */
const shapeOf = ({ rate, burst }: Rate, mtu: number): Shape => ({
  rate: Math.floor(rate / 8),
  burst: Math.max(Math.floor(burst / 8), mtu + ETH_HLEN),
})

interface AddressPair {
  family: 4 | 6
  pod: Address
  /**
   * The far end's address; absent when the pod's peer is its own address: then there is no next
   * hop.
   */
  gateway?: string
}

function addressEnds(conf: NetConf, ip: Leased['ips'][number]): AddressPair {
  const cidr = parseCidr(ip.address)
  if (cidr === undefined) throw new CniError(CODE.invalidConfig, `the IPAM returned "${ip.address}", which is not an address with a prefix`)
  const { family, address: local, prefix } = cidr
  const full = bits(family)
  const configured = conf.peer.find(peer => familyOf(peer.address) === family)
  const peer = configured?.address ?? ip.peer ?? ip.gateway ?? DEFAULT_PEER[family]
  if (conf.addressing === 'subnet') return { family, pod: { local, prefix }, gateway: peer }
  if (peer === local) return { family, pod: { local, prefix: full } }
  return { family, pod: { local, peer, prefix: configured?.prefix ?? full }, gateway: peer }
}

/**
 * A far end outside of the pod's subnet is on the link all the same: without a route the pod could
 * not answer the node.
 */
function farEndRoutes(ends: AddressPair[]): Route[] {
  return ends.flatMap(({ pod, gateway }) =>
    pod.peer === undefined && gateway !== undefined && !holds(`${pod.local}/${pod.prefix}`, gateway)
      ? [{ dst: hostCidr(gateway), scope: RT_SCOPE_LINK }]
      : [],
  )
}

/**
 * Routes without a gateway get the far end as next hop: plugins that copy routes (`sbr`) need one.
 */
function podRoutes(routes: Route[], ends: AddressPair[]): Route[] {
  return routes.map(route => {
    const family = familyOf(route.dst)
    const end = ends.find(candidate => candidate.family === family)
    if (end === undefined) {
      throw new CniError(CODE.invalidConfig, `route "${route.dst}" has no IPv${family} address to leave from`)
    }
    const gw = route.gw ?? (route.scope === RT_SCOPE_LINK ? undefined : end.gateway)
    if (gw === undefined) return route
    // The kernel accepts a next hop without a host route only as "onlink". On a link with one
    // neighbour every next hop is.
    const hasHostRoute = family === 4 && gw === end.pod.peer && end.pod.prefix === bits(4)
    return hasHostRoute ? { ...route, gw } : { ...route, gw, onlink: true }
  })
}

function hostEnd(ends: AddressPair[]): Omit<EndPlan, 'ifname'> {
  const addresses: Address[] = []
  const routes: Route[] = []
  for (const { family, pod, gateway } of ends) {
    if (gateway === undefined) routes.push({ dst: hostCidr(pod.local) })
    else addresses.push({ local: gateway, peer: pod.local, prefix: bits(family) })
  }
  return { addresses, routes }
}
