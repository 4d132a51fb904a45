/**
 * Removes a link from the kernel. A missing device counts as removed; a device that cannot be
 * looked at does not.
 */
import { CniError, CODE } from '../cni/error.ts'
import { type DoomedLink, deleteAndWait } from '../linux/link-deleter.ts'
import { NetlinkSocket } from '../linux/netlink.ts'
import { Netns, type NetnsId, netnsIdAt, sameNetns } from '../linux/netns.ts'
import { findDevice, isGone } from './device.ts'
import { type Masqueraded, unprotectLink } from './host-end.ts'
import { hostIfname, type LinkPlan } from './plan.ts'

/** The part of a plan that is needed to remove a link: also known when the record is broken. */
export type Remains = Masqueraded & { netns?: string; netnsId?: NetnsId }

/**
 * `deleteLink` deletes a device: LinkDeleter.delete() need not wait for the kernel. `opened` is the
 * pod's namespace when the caller has it open; otherwise it is opened by its path.
 */
export async function remove(remains: Remains, dataDir: string, deleteLink = deleteAndWait, opened?: Netns): Promise<void> {
  const doomed: DoomedLink[] = []
  try {
    const hostEnd = findEnd(remains, hostIfname(remains))
    if (hostEnd !== undefined) doomed.push(hostEnd)
    const podEnd = findPodEnd(remains, opened)
    if (podEnd !== undefined) doomed.push(podEnd)
  } catch (error) {
    for (const { netlink, probe } of doomed) for (const socket of [netlink, probe]) socket[Symbol.dispose]()
    throw error
  }
  const results = await Promise.allSettled(doomed.map(deleteLink))
  for (const result of results) if (result.status === 'rejected' && !isGone(result.reason)) throw result.reason
  unprotectLink(remains, dataDir)
}

/** The index of the device if it is in the calling thread's network namespace and ours. */
function findEnd(remains: Remains, ifname: string): DoomedLink | undefined {
  const probe = new NetlinkSocket()
  try {
    const index = findDevice(probe, ifname, remains)
    if (index !== undefined) return { index, probe, netlink: new NetlinkSocket() }
  } catch (error) {
    probe[Symbol.dispose]()
    throw error
  }
  probe[Symbol.dispose]()
  return undefined
}

/**
 * Nothing is looked for when the pod's namespace is gone: its path leads nowhere, or to another
 * namespace.
 */
function findPodEnd(remains: Remains, opened: Netns | undefined): DoomedLink | undefined {
  const { netns: path, netnsId, ifname } = remains
  // also when the record names another namespace: the alias says that the device is ours
  const found = opened?.enter(() => findEnd(remains, ifname))
  if (found !== undefined || (opened !== undefined && netnsId !== undefined && sameNetns(opened.id, netnsId))) return found
  if (path === undefined || !namespaceIsThere(path, netnsId)) return undefined
  using netns = openUnlessGone(path)
  return netns?.enter(() => findEnd(remains, ifname))
}

function openUnlessGone(path: string): Netns | undefined {
  try {
    return new Netns(path)
  } catch (error) {
    // a plain file: the namespace was unmounted, or never existed
    if (error instanceof TypeError) return undefined
    if (PATH_IS_GONE.includes((error as NodeJS.ErrnoException).code ?? '')) return undefined
    throw error
  }
}

/** No process can open a namespace by such a path. */
const PATH_IS_GONE = ['ENOENT', 'ENOTDIR', 'ELOOP', 'ENAMETOOLONG']

/**
 * True while the pod's end of the link is there, or the node's end of a kernel wire: the pod may
 * have renamed its own. A namespace alone says nothing: a later one may have its path and its inode
 * number. `opened` is the namespace that the caller has open.
 */
export function linkIsThere(plan: LinkPlan, opened: Netns): boolean {
  const isOpened = plan.netnsId !== undefined && sameNetns(opened.id, plan.netnsId)
  if (!isOpened && !namespaceIsThere(plan.netns, plan.netnsId)) return false
  if (plan.wire === 'kernel' && isThere(plan, plan.host!.ifname)) return true
  if (isOpened) return opened.enter(() => isThere(plan, plan.ifname))
  using netns = openUnlessGone(plan.netns)
  return netns?.enter(() => isThere(plan, plan.ifname)) ?? false
}

function isThere(plan: LinkPlan, ifname: string): boolean {
  using netlink = new NetlinkSocket()
  return findDevice(netlink, ifname, plan) !== undefined
}

/**
 * True when `path` leads to the namespace `id`; without `id` (records of 0.1.0), to any namespace.
 * Throws CniError 5 when it cannot be looked at.
 */
export function namespaceIsThere(path: string, id: NetnsId | undefined): boolean {
  try {
    const found = netnsIdAt(path)
    return found !== undefined && (id === undefined || sameNetns(found, id))
  } catch (error) {
    if (PATH_IS_GONE.includes((error as NodeJS.ErrnoException).code ?? '')) return false
    throw new CniError(CODE.io, `Cannot look at the network namespace ${path}: ${(error as Error).message}`)
  }
}
