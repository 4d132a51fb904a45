/** CHECK of a link without a runtime. */
import { check } from '../link/check.ts'
import type { LinkPlan } from '../link/plan.ts'
import { threadFaults } from '../verbs/check.ts'

/**
 * Faults of the link of `plan`, each a sentence without full stop. An MTU that a later plugin of
 * the chain has changed counts as a fault: the runtime's result is not known here.
 */
export async function linkFaults(plan: LinkPlan, dataDir: string): Promise<string[]> {
  const faults = attempted(() => check(plan, { mtu: undefined, destinations: undefined }))
  if (plan.wire === 'thread') faults.push(...(await threadFaults(dataDir, plan.host!.ifname)))
  return faults
}

function attempted(body: () => string[]): string[] {
  try {
    return body()
  } catch (error) {
    return [(error as Error).message]
  }
}
