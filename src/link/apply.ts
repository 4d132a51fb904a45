/**
 * Makes the link of a plan in the kernel. When that fails half-way, remove() deletes what there is,
 * as for every link: here only descriptors are closed.
 */
import { closeSync } from 'node:fs'
import { CniError, CODE } from '../cni/error.ts'
import { ifNameToIndex } from '../linux/libc.ts'
import { linkChange } from '../linux/link.ts'
import { NetlinkSocket, type Request } from '../linux/netlink.ts'
import { Netns } from '../linux/netns.ts'
import { type Shape, tbfAddition } from '../linux/token-bucket.ts'
import { createTun, setOffloads, setPersist } from '../linux/tun.ts'
import { addPair, freeIndexes, joinPod, type PodIndexes } from '../wire/kernel.ts'
import { deviceSettings, endRequests, hasIPv6 } from './device.ts'
import { prepareHostEnd, protectLink } from './host-end.ts'
import type { EndPlan, LinkPlan } from './plan.ts'
import { allowIPv6 } from './sysctls.ts'

/**
 * Descriptors of a link's devices: of the pod's TUN and, with a thread wire, of the node's TUN. The
 * caller closes them.
 */
export interface Ends {
  podFd: number
  hostFd?: number
}

/** The pod's TUN, and a socket of its namespace. */
interface Pod extends Disposable {
  netlink: NetlinkSocket
  fd: number
  index: number
  /** Index of the pod's veth end; absent when the kernel is to choose. */
  vethIndex: number | undefined
}

/**
 * Makes the link of `plan` in the pod's namespace `netns` and in the caller's. Throws the kernel's
 * error.
 */
export function apply(plan: LinkPlan, dataDir: string, netns: Netns): Ends {
  using node = new NetlinkSocket()
  using pod = openPod(plan, netns)
  const ends: Ends = { podFd: pod.fd }
  try {
    if (plan.host === undefined) configurePod(pod, plan)
    else if (plan.wire === 'kernel') applyKernelWire(node, pod, plan, plan.host, netns)
    else ends.hostFd = applyThreadWire(node, pod, plan, plan.host)
    if (plan.host !== undefined) protectLink(plan, dataDir)
    return ends
  } catch (error) {
    for (const fd of Object.values(ends)) closeSync(fd)
    throw error
  }
}

/** Makes the TUN. It gets our alias before it persists, so that a clean-up knows whose it is. */
function openPod(plan: LinkPlan, netns: Netns): Pod {
  return during(`create ${plan.ifname} in ${plan.netns}`, () =>
    netns.enter(() => {
      const indexes = plan.wire === 'kernel' ? freeIndexes() : undefined
      const netlink = new NetlinkSocket()
      let fd: number | undefined
      try {
        fd = openTun(plan, plan.ifname, indexes)
        const index = ifNameToIndex(plan.ifname)
        netlink.requestBatch([linkChange(index, deviceSettings(plan))])
        setPersist(fd, true)
        if (plan.pod.addresses.some(({ local }) => local.includes(':'))) allowIPv6(plan.ifname)
        return { netlink, fd, index, vethIndex: indexes?.veth, [Symbol.dispose]: () => netlink[Symbol.dispose]() }
      } catch (error) {
        if (fd !== undefined) closeSync(fd)
        netlink[Symbol.dispose]()
        throw error
      }
    }),
  )
}

function openTun({ farEnd, owner, group, multiQueue }: LinkPlan, name: string, indexes?: PodIndexes): number {
  const fd = createTun({ name, owner, group, multiQueue, vnetHdr: farEnd === 'host', index: indexes?.tun })
  try {
    if (farEnd === 'host') setOffloads(fd)
    return fd
  } catch (error) {
    closeSync(fd)
    throw error
  }
}

function applyKernelWire(node: NetlinkSocket, pod: Pod, plan: LinkPlan, host: EndPlan, netns: Netns): void {
  const { ifname } = host
  using nodeNetns = new Netns('/proc/thread-self/ns/net')
  during(`create the kernel wire ${ifname}`, () => addPair(pod.netlink, nodeNetns, ifname, plan.mtu, pod.vethIndex))
  const vethIndex = pod.vethIndex ?? netns.enter(() => ifNameToIndex(ifname))
  during(`configure ${plan.ifname} in ${plan.netns}`, () =>
    joinPod(pod.netlink, { tun: pod.index, veth: vethIndex }, hasIPv6(plan.mtu), [
      ...shaping(vethIndex, plan.fromPod),
      ...endRequests(pod.index, plan.pod),
    ]),
  )
  configureHostEnd(node, plan, host)
}

/** The descriptor of the node's TUN. */
function applyThreadWire(node: NetlinkSocket, pod: Pod, plan: LinkPlan, host: EndPlan): number {
  const fd = during(`create the node's end ${host.ifname}`, () => openTun(plan, host.ifname))
  try {
    node.requestBatch([linkChange(ifNameToIndex(host.ifname), deviceSettings(plan))])
    setPersist(fd, true)
    configureHostEnd(node, plan, host)
    configurePod(pod, plan)
    return fd
  } catch (error) {
    closeSync(fd)
    throw error
  }
}

/** Where no veth pair is behind the pod's TUN. */
const configurePod = ({ netlink, index }: Pod, plan: LinkPlan): void =>
  during(`configure ${plan.ifname} in ${plan.netns}`, () =>
    netlink.requestBatch([...shaping(index, plan.fromPod), ...endRequests(index, plan.pod)]),
  )

function configureHostEnd(node: NetlinkSocket, plan: LinkPlan, host: EndPlan): void {
  const index = ifNameToIndex(host.ifname)
  prepareHostEnd(node, host)
  const settings: Request[] = [linkChange(index, { ...deviceSettings(plan), rpFilter: 1, forwarding: true }), ...shaping(index, plan.toPod)]
  during(`configure the node's end ${host.ifname}`, () => node.requestBatch([...settings, ...endRequests(index, host)]))
}

/** Each direction is limited at the device that sends it. */
const shaping = (index: number, shape: Shape | undefined): Request[] => (shape === undefined ? [] : [tbfAddition(index, shape)])

/** Adds one clause to an error of `body`, and keeps its code for callers that branch on it. */
function during<T>(doing: string, body: () => T): T {
  try {
    return body()
  } catch (cause) {
    if (isTakenRoute(cause)) {
      const hint = 'the pod has such a route already: "routes": [] in "ipam" asks for none, "priority" for one beside it'
      throw new CniError(CODE.invalidConfig, `Cannot ${doing}: ${(cause as Error).message}`, hint)
    }
    throw Object.assign(new Error(`Cannot ${doing}: ${(cause as Error).message}`, { cause }), {
      code: (cause as NodeJS.ErrnoException).code,
    })
  }
}

/**
 * Another link of the pod has a route to the same destination: the configuration clashes, not the
 * name.
 */
function isTakenRoute(error: unknown): boolean {
  const { code, doing } = error as { code?: string; doing?: string }
  return code === 'EEXIST' && doing?.startsWith('add route') === true
}
