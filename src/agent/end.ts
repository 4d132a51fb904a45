/** How another agent is ended: by the process ID that it answers with. */
import { ask, noAgent } from './client.ts'

/** Ends the agent of this directory with SIGTERM. True when there was one. */
export async function endAgent(dataDir: string): Promise<boolean> {
  try {
    const { pid } = await ask(dataDir, { op: 'status' })
    process.kill(Number(pid), 'SIGTERM')
    return true
  } catch (error) {
    if (!noAgent(error)) throw error
    return false
  }
}
