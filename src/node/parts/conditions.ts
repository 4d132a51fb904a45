/** Sets this node's conditions in the API. */
import { nodeConditions } from '../conditions.ts'
import { describe, log } from '../log.ts'
import type { State } from '../state.ts'
import type { Part } from './part.ts'

export function conditionsPart(state: State): Part {
  let sent = ''
  return {
    name: 'conditions',
    everyMs: 30_000,
    async run() {
      const { own, options, kube } = state
      if (own === undefined || !state.conflistInstalled) return
      const conditions = nodeConditions(own, options.backend, state.programmed)
      const wanted = JSON.stringify(conditions)
      const isPresent = conditions.every(({ type, status }) => own.conditions?.[type] === status)
      if (wanted === sent && isPresent) return
      try {
        await kube.setConditions(own.name, conditions, own.conditions)
        sent = wanted
      } catch (error) {
        // pods have their network without them
        log.warn('conditions not set', { error: describe(error) })
      }
    },
  }
}
