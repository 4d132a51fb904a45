/** What a plugin process does for links where no agent answers; it also starts one. */
import { closeSync } from 'node:fs'
import { agentHangs, ask, noAgent } from '../agent/client.ts'
import { logPath } from '../agent/protocol.ts'
import { startAgent } from '../agent/spawn.ts'
import { CniError, CODE } from '../cni/error.ts'
import type { NetConf } from '../cni/netconf.ts'
import type { Ends } from '../link/apply.ts'
import type { Keeper } from '../link/keeper.ts'
import type { Attachment, LinkPlan } from '../link/plan.ts'
import { recordList } from '../link/record.ts'
import { type DoomedLink, deleteAndWait } from '../linux/link-deleter.ts'
import { tell } from '../linux/read-write.ts'

const START_MS = 10_000
/** An agent that starts later takes the link up by its record. */
const TAKE_UP_MS = 3_000
const LOOK_AGAIN_MS = 10

type Conf = Pick<NetConf, 'dataDir' | 'agent'>

export class LoneKeeper implements Keeper {
  readonly #conf: Conf

  constructor(conf: Conf) {
    this.#conf = conf
  }

  /**
   * Devices persist without their descriptors, and a kernel wire needs no process. A thread wire
   * needs an agent.
   */
  async keep(plan: LinkPlan, ends: Ends): Promise<void> {
    for (const fd of Object.values(ends)) closeSync(fd)
    if (plan.wire !== 'thread') return
    const { dataDir, agent } = this.#conf
    if (!agent.spawn)
      throw new CniError(
        CODE.pluginNotAvailable,
        `no agent answers at ${dataDir}/agent.sock`,
        '"agent.spawn" is false: start one with "tunlink agent &"',
      )
    await startAgent(dataDir, agent.idleSeconds)
    const { network, containerID, ifname } = plan
    await untilAnswered(dataDir, () => ask(dataDir, { op: 'open', attachment: { network, containerID, ifname } }))
  }

  /** A process that is about to end holds nothing. */
  async letGo(): Promise<void> {}

  deleteLink(link: DoomedLink): Promise<void> {
    return deleteAndWait(link)
  }
}

/**
 * Lets an agent take up a link that this process made, so that the pod's TUN is RUNNING. Starts one
 * where none answers. A link with a kernel wire carries packets without an agent, so its absence is
 * not an error.
 */
export async function takeUp({ dataDir, agent }: Conf, attachment: Attachment): Promise<void> {
  const open = () => ask(dataDir, { op: 'open', attachment }, TAKE_UP_MS)
  try {
    await open()
  } catch (error) {
    if (!agent.spawn || !noAgent(error)) return
    await startAgent(dataDir, agent.idleSeconds)
      .then(() => untilAnswered(dataDir, open, TAKE_UP_MS))
      .catch((error: Error) => tell(`No agent was started: ${error.message}`))
  }
}

/**
 * Starts an agent where none answers and links need one: thread wires, to carry packets; kernel
 * wires, to show a carrier. With `wait`, throws when the agent does not serve in time, or hangs.
 */
export async function reviveAgent({ dataDir, agent }: Conf, wait?: 'wait'): Promise<void> {
  if (!agent.spawn || !recordList(dataDir).plans.some(plan => plan.host !== undefined)) return
  try {
    await ask(dataDir, { op: 'status' })
  } catch (error) {
    if (wait && agentHangs(error)) throw error
    if (!noAgent(error)) return // it hangs, or is too old: the next verb that needs it replaces it
    await startAgent(dataDir, agent.idleSeconds)
    if (wait) await untilAnswered(dataDir, () => ask(dataDir, { op: 'status' }))
  }
}

async function untilAnswered<T>(dataDir: string, question: () => Promise<T>, withinMs = START_MS): Promise<T> {
  const deadline = performance.now() + withinMs
  for (;;) {
    try {
      return await question()
    } catch (error) {
      if (!noAgent(error)) throw error
      if (performance.now() > deadline) throw new CniError(CODE.pluginNotAvailable, 'the agent did not start', `see ${logPath(dataDir)}`)
    }
    await new Promise(resolve => setTimeout(resolve, LOOK_AGAIN_MS))
  }
}
