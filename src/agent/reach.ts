/** Asks an agent that may not run, may hang, or may be of another version. */
import { agentHangs, agentIsForeign, ask, isUnseen, noAgent } from './client.ts'
import type { Answers, Request } from './protocol.ts'

/**
 * The agent's answer; undefined when the caller must do the work itself: no agent listens, the
 * agent cannot see the caller's namespace, or it hung or was too old and has been ended. Throws
 * CniError with the agent's error; Error when an agent that hangs cannot be ended.
 */
export async function askIfAny<R extends Request>(dataDir: string, request: R): Promise<Answers[R['op']] | undefined> {
  try {
    return await ask(dataDir, request)
  } catch (error) {
    if (noAgent(error) || isUnseen(error)) return undefined
    if (!agentHangs(error) && !agentIsForeign(error)) throw error
    const { endAgent } = await import('./end.ts')
    await endAgent(dataDir)
    return undefined
  }
}
