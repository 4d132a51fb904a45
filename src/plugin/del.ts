/** DEL: link first, then its addresses, so that no address is leased again while the old link lives. Nothing missing is an error. */
import { ask, noAgent } from '../agent/client.ts'
import { release } from '../ipam/lease.ts'
import { recordRead, recordRemove } from '../link/record.ts'
import { attachmentOf, BUILT_IN_IPAM, type Context, delegateIpam, isDelegated } from './context.ts'

export async function del(context: Context): Promise<void> {
  const { conf } = context
  const attachment = attachmentOf(context)
  await removeLink(conf.dataDir, attachment)
  if (isDelegated(conf)) delegateIpam(context, 'DEL')
  else if (conf.ipam === undefined || conf.ipam.type === BUILT_IN_IPAM) release(conf.dataDir, conf.name, attachment)
}

/** By the agent, which holds the descriptors of a wire; here when there is no wire or no agent. */
export async function removeLink(dataDir: string, attachment: ReturnType<typeof attachmentOf>): Promise<void> {
  const plan = recordRead(dataDir, attachment)
  if (plan === undefined) return recordRemove(dataDir, attachment)
  if (plan.farEnd === 'host') {
    try {
      await ask(dataDir, { op: 'remove', attachment })
      return
    } catch (error) {
      if (!noAgent(error)) throw error
    }
  }
  const { remove } = await import('../link/remove.ts')
  remove(dataDir, plan)
}
