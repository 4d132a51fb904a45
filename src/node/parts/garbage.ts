/** Removes what is left of pods whose DEL never came. */
import { ask } from '../../agent/client.ts'
import { collectGarbage, StrayDevices } from '../garbage.ts'
import { describe, log } from '../log.ts'
import type { State } from '../state.ts'
import type { Part } from './part.ts'

export function garbagePart(state: State): Part {
  const { dataDir, route, collected } = state
  const strays = new StrayDevices()
  return {
    name: 'garbage',
    everyMs: 60_000,
    async run() {
      if (!state.agentReady) return
      try {
        const found = await collectGarbage(dataDir, route, strays, async attachment => {
          await ask(dataDir, { op: 'del', attachment, lease: true, started: Date.now() })
        })
        if (found.links + found.devices + found.leases > 0) log.info('garbage collected', { ...found })
        for (const key of ['links', 'devices', 'leases'] as const) collected[key] += found[key]
      } catch (error) {
        // harmless until the next run
        log.warn('garbage not collected', { error: describe(error) })
      }
    },
  }
}
