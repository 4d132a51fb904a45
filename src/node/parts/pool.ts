/** Warns when pods are refused because the pod CIDRs have no free address. */
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { ask } from '../../agent/client.ts'
import { CODE } from '../../cni/error.ts'
import { NETWORK } from '../conflist.ts'
import { describe, log } from '../log.ts'
import { poolUse, type Verbs } from '../metrics.ts'
import type { State } from '../state.ts'
import type { Part } from './part.ts'

/** Names in the lease directory of tunlinkd's network. */
export function leasedNames(dataDir: string): string[] {
  const directory = join(dataDir, 'ipam', NETWORK)
  return existsSync(directory) ? readdirSync(directory) : []
}

export function poolPart(state: State): Part {
  const { dataDir, notifier } = state
  let lastRefused: number | undefined
  return {
    name: 'pool',
    everyMs: 10_000,
    async run() {
      const { own } = state
      if (own === undefined || !state.agentReady) return
      const full = poolUse(own.podCIDRs, leasedNames(dataDir)).filter(({ free }) => free <= 0)
      if (full.length === 0) {
        notifier.forget('PodCIDRExhausted')
        lastRefused = undefined
        return
      }
      const refused = await refusedADDs(dataDir)
      if (refused !== undefined && refused > (lastRefused ?? 0)) {
        const what = full.map(({ family, used }) => `all ${used} ${family} addresses`).join(' and ')
        const message = `a pod was refused: ${what} of ${own.podCIDRs.join(', ')} are in use; fewer pods per node (kubelet --max-pods) or larger pod CIDRs`
        notifier.tell('Warning', 'PodCIDRExhausted', message)
      }
      lastRefused = refused
    },
  }
}

/**
 * How many ADDs have failed for want of an address, by the agent's count; undefined when it does
 * not answer.
 */
async function refusedADDs(dataDir: string): Promise<number | undefined> {
  try {
    const { verbs } = (await ask(dataDir, { op: 'stats' })) as unknown as { verbs: Verbs }
    return verbs.ADD?.errors[CODE.addressUnavailable] ?? 0
  } catch (error) {
    log.warn('agent not asked for refused pods', { error: describe(error) })
    return undefined
  }
}
