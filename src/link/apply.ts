/** Puts a plan into the kernel, whole or not at all. */
import { closeSync } from 'node:fs'
import { NetlinkSocket } from '../linux/netlink.ts'
import { inNetns } from '../linux/netns.ts'
import { defaultRouteMtu } from './default-mtu.ts'
import { configureDevice, createDevice, type Device, removeDevice } from './device.ts'
import { addMasqueradeFor, enableForwarding, guardHostEnd } from './node.ts'
import type { LinkPlan } from './plan.ts'
import { recordRemove, recordWrite } from './record.ts'

/** The plan as applied (its MTU known), and for `host` the two descriptors that the wire joins. */
export interface AppliedLink {
  plan: LinkPlan
  wire?: { podFd: number; hostFd: number }
}

/**
 * Throws what the kernel refused, after undoing in reverse what was done. The record comes first: whatever happens to this
 * process later, DEL and GC find what it names.
 */
export function apply(dataDir: string, requested: LinkPlan): AppliedLink {
  const node = new NetlinkSocket()
  const undo: (() => void)[] = [() => node[Symbol.dispose]()]
  try {
    const plan = { ...requested, mtu: requested.mtu ?? defaultRouteMtu(node) }
    recordWrite(dataDir, plan)
    undo.push(() => recordRemove(dataDir, plan))
    const hostFd = plan.host === undefined ? undefined : applyHostEnd(node, plan, undo)
    const pod = applyPodEnd(plan, undo)
    if (plan.masquerade.length > 0) addMasqueradeFor(plan)
    node[Symbol.dispose]()
    if (hostFd !== undefined) return { plan, wire: { podFd: pod.fd, hostFd } }
    closeSync(pod.fd) // persistent: the device stays for whoever attaches
    return { plan }
  } catch (error) {
    for (const step of undo.reverse()) attempt(step)
    throw error
  }
}

function applyHostEnd(node: NetlinkSocket, plan: LinkPlan, undo: (() => void)[]): number {
  const end = plan.host!
  removeDevice(node, end.ifname, plan) // left by an attachment of the same name whose record was lost
  const { fd, index } = during(`create the node's end ${end.ifname}`, () => createDevice(plan, end))
  undo.push(
    () => removeDevice(node, end.ifname, plan),
    () => closeSync(fd),
  )
  enableForwarding(end)
  guardHostEnd(end)
  during(`configure the node's end ${end.ifname}`, () => configureDevice(node, index, plan, end))
  return fd
}

function applyPodEnd(plan: LinkPlan, undo: (() => void)[]): Device {
  return inNetns(plan.netns, () => {
    const netlink = new NetlinkSocket()
    try {
      const device = during(`create ${plan.ifname} in ${plan.netns}`, () => createDevice(plan, plan.pod))
      undo.push(
        () => removePodEnd(plan),
        () => closeSync(device.fd),
      )
      during(`configure ${plan.ifname} in ${plan.netns}`, () => configureDevice(netlink, device.index, plan, plan.pod))
      return device
    } finally {
      netlink[Symbol.dispose]()
    }
  })
}

/** Removes the pod's end if its namespace and the device are there and the device is ours. */
export function removePodEnd(plan: LinkPlan): void {
  inNetns(plan.netns, () => {
    const netlink = new NetlinkSocket()
    try {
      removeDevice(netlink, plan.ifname, plan)
    } finally {
      netlink[Symbol.dispose]()
    }
  })
}

/** Adds one clause to what goes wrong in `body`, keeping its code for whoever branches on it. */
function during<T>(doing: string, body: () => T): T {
  try {
    return body()
  } catch (cause) {
    throw Object.assign(new Error(`Cannot ${doing}: ${(cause as Error).message}`, { cause }), {
      code: (cause as NodeJS.ErrnoException).code,
    })
  }
}

function attempt(step: () => void): void {
  try {
    step()
  } catch {
    // The first error is the one to report.
  }
}
