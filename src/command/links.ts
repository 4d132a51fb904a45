/** The links on record, with their state in the kernel. */
import { ask } from '../agent/client.ts'
import { hostIfname, type LinkPlan } from '../link/plan.ts'
import { recordList } from '../link/record.ts'
import { namespaceIsThere } from '../link/remove.ts'
import { type Link, linkFind, linkList } from '../linux/link.ts'
import { NetlinkSocket } from '../linux/netlink.ts'
import { inNetns } from '../linux/netns.ts'
import { IFF_UP } from '../linux/uapi.ts'
import type { Counters } from '../wire/wire.ts'

/**
 * `up`: carries packets; `down`: a device was set down; `missing`: a device was deleted; `gone`:
 * the pod's namespace was deleted; `unserved`: no agent carries the packets of a thread wire; with
 * the far end `attach`: `attached`, or `free` when no process has attached; `unknown`: it cannot be
 * looked at.
 */
export type State = 'up' | 'down' | 'missing' | 'gone' | 'unserved' | 'attached' | 'free' | 'unknown'

/** Counters since the device was made; absent when the device is missing. */
export interface Listed {
  plan: LinkPlan
  state: State
  fromPod?: Counters
  toPod?: Counters
}

/** All links on record. A record that cannot be used is named on standard error. */
export function plansOf(dataDir: string): LinkPlan[] {
  const { plans, broken } = recordList(dataDir)
  for (const { file, reason } of broken) process.stderr.write(`The record ${file} cannot be used: ${reason}\n`)
  return plans
}

/** Each plan with its link's state and counters. */
export async function look(plans: LinkPlan[], dataDir: string): Promise<Listed[]> {
  const served = await servedThreads(plans, dataDir)
  using node = new NetlinkSocket()
  const devices = new Map(linkList(node).map(link => [link.name, link]))
  return plans.map(plan => {
    try {
      return plan.host === undefined ? lookAtAttach(plan) : lookAtHost(plan, devices.get(plan.host.ifname), served)
    } catch {
      return { plan, state: 'unknown' }
    }
  })
}

/** Names of the node's ends of thread wires that the agent carries. */
async function servedThreads(plans: LinkPlan[], dataDir: string): Promise<Set<string>> {
  if (!plans.some(({ wire }) => wire === 'thread')) return new Set()
  try {
    const { links } = await ask(dataDir, { op: 'list' })
    return new Set(links.filter(({ isOpen }) => isOpen).map(({ link }) => link))
  } catch {
    return new Set()
  }
}

function lookAtHost(plan: LinkPlan, device: Link | undefined, served: Set<string>): Listed {
  const isThere = namespaceIsThere(plan.netns, plan.netnsId)
  if (device === undefined) return { plan, state: isThere ? 'missing' : 'gone' }
  const { rxPackets, rxBytes, rxDropped, txPackets, txBytes, txDropped } = device.stats
  const counters = {
    fromPod: { packets: rxPackets, bytes: rxBytes, drops: rxDropped },
    toPod: { packets: txPackets, bytes: txBytes, drops: txDropped },
  }
  return { plan, state: isThere ? hostState(plan, device, served) : 'gone', ...counters }
}

function hostState(plan: LinkPlan, device: Link, served: Set<string>): State {
  if ((device.flags & IFF_UP) === 0) return 'down'
  return plan.wire === 'thread' && !served.has(hostIfname(plan)) ? 'unserved' : 'up'
}

/** Counters of the pod's TUN: what the TUN sent, the pod has sent to the attached process. */
function lookAtAttach(plan: LinkPlan): Listed {
  if (!namespaceIsThere(plan.netns, plan.netnsId)) return { plan, state: 'gone' }
  const device = inNetns(plan.netns, () => {
    using pod = new NetlinkSocket()
    return linkFind(pod, plan.ifname)
  })
  if (device === undefined) return { plan, state: 'missing' }
  const { rxPackets, rxBytes, rxDropped, txPackets, txBytes, txDropped } = device.stats
  const state = (device.flags & IFF_UP) === 0 ? 'down' : device.running ? 'attached' : 'free'
  return {
    plan,
    state,
    fromPod: { packets: txPackets, bytes: txBytes, drops: txDropped },
    toPod: { packets: rxPackets, bytes: rxBytes, drops: rxDropped },
  }
}

/** The pod's name for people: its Kubernetes name, else its container ID. */
export const podOf = ({ podName, containerID }: LinkPlan): string => podName ?? containerID
