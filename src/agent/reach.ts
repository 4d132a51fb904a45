/** Asks an agent that may not run, may hang, or may be of another version. */
import { CniError, CODE } from '../cni/error.ts'
import { agentHangs, agentIsForeign, ask, isUnseen, noAgent } from './client.ts'
import type { Answers, Request } from './protocol.ts'

const isOnlySlow = async (dataDir: string) => (await (await import('./probe.ts')).probe(dataDir)) === 'serves'

/** To end an agent that works would only make everything slower. */
const tooSlow = ({ message }: Error) => new CniError(CODE.tryAgainLater, message, 'it is alive, but slow: see "tunlink status" and its log')

/**
 * The agent's answer; undefined when the caller must do the work itself: no agent listens, the
 * agent cannot see the caller's namespace, or it hung or was too old and has been ended. Throws
 * CniError with the agent's error, or 11 when it is alive but not done in time: it notices that its
 * caller is gone, and undoes an ADD. Throws Error when an agent that hangs cannot be ended.
 */
export async function askIfAny<R extends Request>(dataDir: string, request: R): Promise<Answers[R['op']] | undefined> {
  try {
    return await ask(dataDir, request)
  } catch (error) {
    if (noAgent(error) || isUnseen(error)) return undefined
    if (!agentHangs(error) && !agentIsForeign(error)) throw error
    if (agentHangs(error) && (await isOnlySlow(dataDir))) throw tooSlow(error as Error)
    const { endAgent } = await import('./end.ts')
    await endAgent(dataDir)
    return undefined
  }
}
