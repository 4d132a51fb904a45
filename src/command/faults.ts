/** What CHECK finds about a link, asked without a runtime. */
import { check } from '../link/check.ts'
import type { LinkPlan } from '../link/plan.ts'
import { threadFaults } from '../verbs/check.ts'

/**
 * Faults of the link of `plan`, each a sentence without full stop. What a plugin later in the chain
 * may have changed (the MTU) is not known here, and counts as a fault.
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
