/** CHECK of a link without a runtime. */
import { check } from '../link/check.ts'
import type { LinkPlan } from '../link/plan.ts'
import { namespaceIsThere } from '../link/remove.ts'
import { threadFaults } from '../verbs/check.ts'
import { BY_HAND } from './by-hand.ts'

/**
 * Faults of the link of `plan`, each a sentence without full stop. An MTU that a later plugin of
 * the chain has changed counts as a fault: the runtime's result is not known here.
 */
export async function linkFaults(plan: LinkPlan, dataDir: string): Promise<string[]> {
  if (isGone(plan)) return [goneWords(plan)]
  const faults = attempted(() => check(plan, { mtu: undefined, destinations: undefined }))
  if (plan.wire === 'thread') faults.push(...(await threadFaults(dataDir, plan.host!.ifname)))
  return faults
}

/** Whether the pod's namespace was deleted, or its name has been given to another. */
export function isGone({ netns, netnsId }: LinkPlan): boolean {
  try {
    return !namespaceIsThere(netns, netnsId)
  } catch {
    return false
  }
}

function goneWords({ network, netns, containerID, ifname }: LinkPlan): string {
  const remover = network === BY_HAND ? `"tunlink down ${containerID} ${ifname}"` : 'the runtime’s DEL or GC'
  return `the network namespace ${netns} is gone: ${remover} removes the record`
}

function attempted(body: () => string[]): string[] {
  try {
    return body()
  } catch (error) {
    return [(error as Error).message]
  }
}
