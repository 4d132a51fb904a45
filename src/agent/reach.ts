/** Asking an agent that may be there or not, may hang, or may be of another version. */
import { ask, isHanging, isOutdated, isUnseen, noAgent } from './client.ts'
import type { Answers, Op, Request } from './protocol.ts'

/**
 * The agent's answer; undefined when the caller is to do without: nobody listens, the agent cannot see the caller's namespace, or it hung or was too old
 * and has been ended. Throws CniError: what the agent answered, or 11 when it hangs and cannot be ended.
 */
export async function askIfAny<O extends Op>(dataDir: string, request: Request<O>): Promise<Answers[O] | undefined> {
  try {
    return await ask(dataDir, request)
  } catch (error) {
    if (noAgent(error) || isUnseen(error)) return undefined
    if (!isHanging(error) && !isOutdated(error)) throw error
    const { endAgent } = await import('./end.ts')
    if (!(await endAgent(dataDir))) throw error
    return undefined
  }
}
