/**
 * The kernel wire: packets between a pod's TUN and the node without a process.
 *
 *   pod netns                                              node netns
 *   eth0  TUN
 *     │ egress: put 14 bytes in front, redirect            tlHASH  veth, NOARP, local peer remote
 *     ▼                                                       │
 *   tlHASH  veth, no address ─────────────────────────────────┘
 *     │ ingress: redirect to eth0's ingress
 *     ▼
 *   eth0 receives
 *
 * A packet that leaves a TUN passes the tc egress hook before the device's own transmit, so nobody
 * need read the TUN. All of this lives and dies with the devices. Some things follow: eth0 counts
 * nothing and tcpdump on it sees only what comes in; qdiscs on eth0 are passed by.
 */
import { closeSync } from 'node:fs'
import { loadClassifier, programTag } from '../linux/bpf.ts'
import { ifIndexToName } from '../linux/libc.ts'
import { ADDR_GEN_MODE_NONE, type Link, linkChange, linkFind } from '../linux/link.ts'
import { NetlinkSocket, type Request } from '../linux/netlink.ts'
import { inNewNetns, Netns } from '../linux/netns.ts'
import { clsactAddition, EGRESS, filterAddition, filterList, type Hook, hasClsact, INGRESS } from '../linux/traffic-control.ts'
import { createTun, setPersist } from '../linux/tun.ts'
import { IFF_NOARP, IFF_UP } from '../linux/uapi.ts'
import { vethAddition } from '../linux/veth.ts'
import { IN, inProgram, NODE_MAC, OUT, outProgram, POD_MAC } from './programs.ts'

/** Indexes of the devices in the pod's network namespace. */
export interface PodIndexes {
  tun: number
  veth: number
}

/**
 * The indexes of the devices in pods: far above those that the kernel chooses, and the same in
 * every pod.
 */
const FIRST_INDEX = 7400
const LINKS_WITH_KNOWN_INDEXES = 8

/**
 * The first free pair of indexes in the calling thread's network namespace; undefined in a pod with
 * very many links.
 */
export function freeIndexes(): PodIndexes | undefined {
  for (let link = 0; link < LINKS_WITH_KNOWN_INDEXES; link++) {
    const indexes = { tun: FIRST_INDEX + 2 * link, veth: FIRST_INDEX + 2 * link + 1 }
    if (ifIndexToName(indexes.tun) === undefined && ifIndexToName(indexes.veth) === undefined) return indexes
  }
  return undefined
}

/** Descriptors of the two programs of a link. */
interface Programs {
  out: number
  in: number
}

/**
 * Loaded programs of this process by their indexes; as many as there are known pairs of indexes.
 */
const loaded = new Map<string, Programs>()

function programsFor(indexes: PodIndexes): Programs & Disposable {
  const key = `${indexes.tun} ${indexes.veth}`
  const isKnown = indexes.tun >= FIRST_INDEX && indexes.tun < FIRST_INDEX + 2 * LINKS_WITH_KNOWN_INDEXES && indexes.veth === indexes.tun + 1
  const programs = loaded.get(key) ?? load(indexes)
  if (isKnown) loaded.set(key, programs)
  return { ...programs, [Symbol.dispose]: () => isKnown || close(programs) }
}

function load({ tun, veth }: PodIndexes): Programs {
  const out = loadClassifier(OUT, outProgram(veth))
  try {
    return { out, in: loadClassifier(IN, inProgram(tun)) }
  } catch (error) {
    closeSync(out)
    throw error
  }
}

function close(programs: Programs): void {
  closeSync(programs.out)
  closeSync(programs.in)
}

/**
 * Makes the veth pair, down and without addresses. It is made from the pod's side, as the kernel
 * gives only this end the requested index: `pod` is a socket of the pod's namespace, `node` of the
 * node's, `ifname` the name of both ends. `vethIndex` is absent when the kernel is to choose.
 */
export function addPair(pod: NetlinkSocket, node: Netns, ifname: string, mtu: number, vethIndex: number | undefined): void {
  pod.requestBatch([vethAddition({ name: ifname, mac: POD_MAC, index: vethIndex }, { name: ifname, mac: NODE_MAC }, node.fd, mtu)])
}

/**
 * Brings the pod's veth end up and joins it to the TUN. `pod` is a socket of the pod's namespace;
 * `before` are requests that come first.
 */
export function joinPod(pod: NetlinkSocket, indexes: PodIndexes, hasIPv6: boolean, before: Request[]): void {
  using programs = programsFor(indexes)
  pod.requestBatch([
    // Incoming packets wait until the TUN is ready for them.
    ...before,
    clsactAddition(indexes.tun),
    filterAddition(indexes.tun, EGRESS, OUT, programs.out),
    clsactAddition(indexes.veth),
    filterAddition(indexes.veth, INGRESS, IN, programs.in),
    ...(hasIPv6 ? [linkChange(indexes.veth, { addrGenMode: ADDR_GEN_MODE_NONE })] : []),
    linkChange(indexes.veth, { up: true }),
  ])
}

/**
 * Faults of the pod's side, each a sentence: `tun` is the pod's TUN, `ifname` the name of the veth
 * end.
 */
export function podFaults(pod: NetlinkSocket, tun: Link, ifname: string, mtu: number): string[] {
  const veth = linkFind(pod, ifname)
  if (veth === undefined) return [`the pod's end ${ifname} of the kernel wire is missing or renamed`]
  using programs = programsFor({ tun: tun.index, veth: veth.index })
  return [
    ...vethFaults(veth, POD_MAC, mtu, `the pod's end ${ifname}`),
    ...hookFaults(pod, tun, EGRESS, programTag(programs.out), OUT),
    ...hookFaults(pod, veth, INGRESS, programTag(programs.in), IN),
  ]
}

/** Faults of one end of the pair. */
export function vethFaults(link: Link, mac: Buffer, mtu: number, which: string): string[] {
  const faults: string[] = []
  if (link.kind !== 'veth') faults.push(`${which} is not a veth device`)
  if ((link.flags & IFF_UP) === 0) faults.push(`${which} is down`)
  if ((link.flags & IFF_NOARP) === 0) faults.push(`${which} lacks the flag NOARP`)
  const wanted = mac.toString('hex').replace(/..(?=.)/g, '$&:')
  if (link.mac !== wanted) faults.push(`${which} has the MAC address ${link.mac}, not ${wanted}`)
  if (link.mtu < mtu) faults.push(`${which} has mtu ${link.mtu}, less than the link's ${mtu}`)
  return faults
}

/** True when addPair() made this device: recognised by its MAC, before it has an alias. */
export const isNodeEnd = (link: Link): boolean => link.kind === 'veth' && link.mac === NODE_MAC.toString('hex').replace(/..(?=.)/g, '$&:')

function hookFaults(netlink: NetlinkSocket, { index, name }: Link, hook: Hook, tag: string, program: string): string[] {
  const where = `${name} ${hook === EGRESS ? 'egress' : 'ingress'}`
  if (!hasClsact(netlink, index)) return [`qdisc clsact of ${name} is missing, so the kernel wire carries nothing`]
  const filters = filterList(netlink, index, hook)
  const ours = filters.findIndex(filter => filter.tag === tag && filter.directAction)
  if (ours >= 0) return []
  if (filters.some(({ name }) => name.startsWith(program))) return [`filter ${program} of ${where} runs another program than tunlink's`]
  return [`filter ${program} of ${where} is missing, so the kernel wire carries nothing`]
}

/**
 * Why the kernel wire is not possible here, in the kernel's words; undefined when it is. Makes
 * everything that a link needs, in a network namespace of its own: the kernel may lack BPF, clsact
 * or veth, or refuse permission.
 */
export function kernelWireRefusal(): string | undefined {
  try {
    inNewNetns(() => {
      using here = new Netns('/proc/thread-self/ns/net')
      using netlink = new NetlinkSocket()
      const indexes = freeIndexes()!
      const fd = createTun({ name: 'probe-tun', vnetHdr: true, index: indexes.tun })
      try {
        setPersist(fd, true) // otherwise closing it would wait for its deletion
        const [end, peer] = [
          { name: 'probe-0', mac: POD_MAC, index: indexes.veth },
          { name: 'probe-1', mac: NODE_MAC },
        ]
        netlink.requestBatch([vethAddition(end, peer, here.fd, PROBE_MTU)])
        joinPod(netlink, indexes, false, [])
      } finally {
        closeSync(fd)
      }
    })
    return undefined
  } catch (error) {
    return (error as Error).message
  }
}

const PROBE_MTU = 1500
