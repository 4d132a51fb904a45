/** The runs of tunlink that the sweeps interrupt. */
import type { Bench, Ran } from './bench.ts'
import { type Options, readsStdin, takesLock, Watch } from './watch.ts'

export interface Scenario {
  name: string
  verb: 'ADD' | 'DEL' | 'GC' | 'agent'
  wire: 'kernel' | 'thread' | 'attach'
  /** An agent serves before the verb begins. */
  hasAgent: boolean
  /** The process that is watched. */
  target: 'plugin' | 'agent'
  /** Of ADD, before and after the verb. */
  conf: object
  /** Of the verb. */
  verbConf: object
}

const WIRES = {
  kernel: { wire: 'kernel' },
  thread: { wire: 'thread' },
  attach: { farEnd: 'attach', owner: 0, group: 0 },
}

/** Starts no agent: DEL and GC would, for the neighbour's link. */
const LONE = { agent: { spawn: false } }

export const SCENARIOS: Scenario[] = (['kernel', 'thread', 'attach'] as const).flatMap(wire =>
  [
    ...(['ADD', 'DEL', 'GC'] as const).flatMap(verb => [
      // The first ADD starts the agent.
      { verb, wire, hasAgent: false, target: 'plugin', verbConf: verb === 'ADD' ? {} : LONE } as const,
      // The other way round: whether an agent is started has nothing to do with the wire.
      ...(wire === 'kernel' ? [{ verb, wire, hasAgent: false, target: 'plugin', verbConf: verb === 'ADD' ? LONE : {} } as const] : []),
      { verb, wire, hasAgent: true, target: 'agent', verbConf: {} } as const,
      { verb, wire, hasAgent: true, target: 'plugin', verbConf: {} } as const,
    ]),
    ...(wire === 'attach' ? [] : [{ verb: 'agent', wire, hasAgent: false, target: 'agent', verbConf: {} } as const]),
  ].map(scenario => ({ name: nameOf(scenario), conf: WIRES[wire], ...scenario, verbConf: { ...WIRES[wire], ...scenario.verbConf } })),
)

function nameOf({ verb, wire, hasAgent, target, verbConf }: Omit<Scenario, 'name' | 'conf'>): string {
  const of = wire === 'attach' ? 'attach' : `${wire} wire`
  if (verb === 'agent') return `the start of an agent, ${of}`
  if (hasAgent) return `${verb}, ${of}, by an agent, the ${target}`
  return `${verb}, ${of}, without an agent, the plugin${verbConf === LONE ? ' that starts none' : ''}`
}

/** Brings the pod and the agent to where the scenario begins. */
export async function prepare(bench: Bench, { verb, hasAgent, conf }: Scenario, hasLink: boolean): Promise<void> {
  if (verb !== 'ADD' && !hasLink) await bench.must('ADD', conf)
  if (verb === 'ADD' && hasLink) await bench.must('DEL', conf)
  if (hasAgent) await bench.agent()
  else await bench.endAgent()
}

/** Watches the scenario's process while it runs. */
export async function perform(bench: Bench, scenario: Scenario, options: Omit<Options, 'isBegin'>): Promise<{ ran: Ran; watch: Watch }> {
  const { verb, hasAgent, target, verbConf } = scenario
  const serving = hasAgent && target === 'agent' ? await bench.agent() : undefined
  const isBegin = serving !== undefined ? (_: unknown, pid: number) => pid === serving : verb === 'agent' ? takesLock : readsStdin
  const watch = new Watch({ isBegin, ...options })
  const ran = verb === 'agent' ? await bench.beginAgent(watch) : await bench.verb(verb, verbConf, watch)
  return { ran, watch }
}
