/** Tells an agent that hangs from one that is only slow. */
import { agentHangs, agentIsForeign, ask, noAgent } from './client.ts'

/** An agent whose event loop has not turned within this time hangs. */
const PROBE_MS = 5_000

/**
 * What listens at the agent's socket. The question needs neither disk nor kernel, so that an agent
 * answers it however long its other work takes. `absent`: no agent, or one that is about to serve
 * or to end. `foreign`: an agent of another version.
 */
export async function probe(dataDir: string): Promise<'serves' | 'hangs' | 'foreign' | 'absent'> {
  try {
    await ask(dataDir, { op: 'stats' }, PROBE_MS)
    return 'serves'
  } catch (error) {
    if (noAgent(error)) return 'absent'
    if (agentHangs(error)) return 'hangs'
    if (agentIsForeign(error)) return 'foreign'
    return 'serves' // it answers, though with an error
  }
}
