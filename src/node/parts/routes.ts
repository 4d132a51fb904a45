/** Keeps the routes to the pods of other nodes. */
import { refusals } from '../conditions.ts'
import { log } from '../log.ts'
import { Network } from '../program.ts'
import type { State } from '../state.ts'
import type { Part } from './part.ts'

export function routesPart(state: State): Part {
  const network = new Network()
  let told = ''
  return {
    name: 'routes',
    everyMs: 5_000,
    run() {
      if (state.own === undefined) return
      const programmed = network.program(state.route, state.nodes, state.own, state.options)
      state.programmed = programmed
      const { changed, wanted, installed, refused } = programmed
      if (changed > 0) log.info('routes programmed', { changed, wanted, installed })
      const message = refused.length > 0 ? refusals(refused) : undefined
      state.notifier.warnWhile('RouteRefused', message)
      if ((message ?? '') !== told) state.wake('conditions')
      told = message ?? ''
    },
  }
}
