/** Removes what is left of pods whose DEL never came. */
import { ask } from '../../agent/client.ts'
import type { Attachment } from '../../link/plan.ts'
import { collectGarbage, StrayDevices } from '../garbage.ts'
import { describe, log } from '../log.ts'
import type { State } from '../state.ts'
import type { Part } from './part.ts'

/** A run that has lasted for longer ends with the next failure. */
const MOST_MS = 20_000

export function garbagePart(state: State): Part {
  const { dataDir, route, collected } = state
  const strays = new StrayDevices()
  const del = async (attachment: Attachment) => {
    await ask(dataDir, { op: 'del', attachment, lease: true, started: Date.now() })
  }
  let untilMs = 0
  /** Harmless until the next run. An agent that hangs is not asked about every link of a node. */
  const failed = (what: string, error: unknown) => {
    if (performance.now() > untilMs) throw error
    log.warn('garbage not collected', { what, error: describe(error) })
  }
  return {
    name: 'garbage',
    everyMs: 60_000,
    async run() {
      if (!state.agentReady) return
      untilMs = performance.now() + MOST_MS
      try {
        const found = await collectGarbage(dataDir, route, strays, del, failed)
        if (found.links + found.devices + found.leases > 0) log.info('garbage collected', { ...found })
        for (const key of ['links', 'devices', 'leases'] as const) collected[key] += found[key]
      } catch (error) {
        log.warn('garbage not collected', { error: describe(error) })
      }
    },
  }
}
