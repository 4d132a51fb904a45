/** tunlinkd's HTTP server: /healthz, /readyz, /metrics. */
import { ask } from '../agent/client.ts'
import type { Loop } from './loop.ts'
import { type LinkCounters, metricsPage, type Verbs } from './metrics.ts'
import { leasedNames } from './parts/pool.ts'
import { checklist, serve } from './server.ts'
import type { State } from './state.ts'

/** `failing`: the message of each part that fails. Rejects when an address is wrong or in use. */
export async function listen(version: string, state: State, failing: ReadonlyMap<string, string>, loop: Loop) {
  const { healthBindAddress: health, metricsBindAddress: metrics } = state.options
  const isAlive = () => {
    const stuck = loop.stuck(performance.now())
    return stuck === undefined || `${stuck} is stuck`
  }
  const pages = {
    '/healthz': () => checklist({ loop: isAlive() }),
    '/readyz': () => checklist(readiness(state, failing)),
    '/metrics': async () => ({ status: 200, body: await metricsText(version, state, failing) }),
  }
  const servers = [await serve(health, pages)]
  if (metrics !== '' && metrics !== health) servers.push(await serve(metrics, { '/metrics': pages['/metrics'] }))
  return servers
}

/** Pods that do not ask for a device need no device plugin. */
const OPTIONAL = ['devicePlugin']

/**
 * Readiness: may pods be scheduled here? The API's state does not count: pods have their network
 * without it.
 */
function readiness(state: State, failing: ReadonlyMap<string, string>): Record<string, string | true> {
  const { options, own, dataDir } = state
  const isInstalled = !options.conflist || state.conflistInstalled
  return {
    agent: state.agentReady || `none answers at ${dataDir}/agent.sock`,
    executable: state.executable !== undefined || 'it is not installed',
    config: state.config !== undefined || 'there was no valid one yet',
    conflist: isInstalled || (own === undefined ? 'the API has not told of this node yet' : 'not installed'),
    ...Object.fromEntries([...failing].filter(([part]) => !OPTIONAL.includes(part))),
  }
}

async function metricsText(version: string, state: State, failing: ReadonlyMap<string, string>): Promise<string> {
  const { dataDir, own, kube, agentStarts, collected, programmed } = state
  const ready = checklist(readiness(state, failing)).status === 200
  return metricsPage({
    version,
    ready,
    links: await says<LinkCounters[]>(dataDir, 'list', 'links'),
    verbs: await says<Verbs>(dataDir, 'stats', 'verbs'),
    podCIDRs: own?.podCIDRs ?? [],
    leased: leasedNames(dataDir),
    agentStarts,
    apiErrors: kube.errors,
    routes: programmed ?? { wanted: 0, installed: 0 },
    collected,
    failing: [...failing.keys()],
  })
}

/** One field of the agent's answer; undefined when it does not answer. */
async function says<T>(dataDir: string, op: 'list' | 'stats', key: string): Promise<T | undefined> {
  try {
    return ((await ask(dataDir, { op })) as Record<string, unknown>)[key] as T | undefined
  } catch {
    return undefined
  }
}
