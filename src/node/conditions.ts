/** The conditions that `kubectl describe node` shows of tunlink. */
import type { Condition } from './kube.ts'
import type { NodeInfo } from './node-info.ts'
import type { Programmed } from './program.ts'

/**
 * NetworkUnavailable keeps pods off a node, and clouds set it at first; the other says which nodes'
 * pods are out of reach, and why.
 */
export function nodeConditions(own: NodeInfo, backend: string, programmed: Programmed | undefined): Condition[] {
  const refused = programmed?.refused ?? []
  return [
    { type: 'NetworkUnavailable', status: 'False', reason: 'TunlinkIsUp', message: `tunlink is running on ${own.name}` },
    refused.length === 0
      ? { type: 'TunlinkRoutesReady', status: 'True', reason: 'RoutesProgrammed', message: `backend ${backend}` }
      : { type: 'TunlinkRoutesReady', status: 'False', reason: 'RouteRefused', message: refusals(refused) },
  ]
}

const MOST_NAMED = 5

/** Names some of the nodes, and counts the rest. */
export function refusals(refused: Programmed['refused']): string {
  const named = refused.slice(0, MOST_NAMED).map(({ node, reason }) => `${node}: ${reason}`)
  const more = refused.length - named.length
  return [...named, ...(more > 0 ? [`and ${more} more`] : [])].join('; ')
}
