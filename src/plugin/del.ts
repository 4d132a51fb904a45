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

/** By the agent, if one runs: it holds the descriptors of a wire, and need not wait for the kernel's grace period as this process must. */
export async function removeLink(dataDir: string, attachment: ReturnType<typeof attachmentOf>): Promise<void> {
  const plan = recordRead(dataDir, attachment)
  if (plan === undefined) return recordRemove(dataDir, attachment)
  try {
    await ask(dataDir, { op: 'remove', attachment, started: performance.timeOrigin })
    return
  } catch (error) {
    if (!noAgent(error)) throw error
  }
  const { remove } = await import('../link/remove.ts')
  await remove(dataDir, plan)
}
