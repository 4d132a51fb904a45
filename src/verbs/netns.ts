import type { Environment } from '../cni/environment.ts'
import { CniError, CODE } from '../cni/error.ts'
import { Netns, ownNetnsId, sameNetns } from '../linux/netns.ts'

/**
 * Opens the pod's namespace by `path`, whose name for the caller is `netns`. Throws CniError 8
 * unless it is a network namespace other than this process's own: a link made in the node's
 * namespace would take the node off its network.
 */
export function openNetns(path: string, { netns: given, netnsOverride }: Environment): Netns {
  let netns: Netns
  try {
    netns = new Netns(path)
  } catch (error) {
    if (error instanceof TypeError) throw new CniError(CODE.invalidNetns, `CNI_NETNS "${given}" is not a network namespace`)
    throw new CniError(CODE.invalidNetns, `CNI_NETNS "${given}" cannot be opened`, (error as Error).message)
  }
  if (netnsOverride || !sameNetns(netns.id, ownNetnsId())) return netns
  netns[Symbol.dispose]()
  throw new CniError(CODE.invalidNetns, "plugin's netns and netns from CNI_NETNS should not be the same")
}
