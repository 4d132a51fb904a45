/**
 * DEL, and GC's removals. The agent removes the link where one answers, as it need not wait for the
 * kernel; then the lease goes, then the record.
 */
import { askIfAny } from '../agent/reach.ts'
import type { Environment } from '../cni/environment.ts'
import { parseNetConf } from '../cni/netconf.ts'
import { verifyOwner } from '../link/data-dir.ts'
import type { Attachment } from '../link/plan.ts'
import { recordRemove } from '../link/record.ts'
import { attachmentOf, type Context } from '../verbs/context.ts'
import { ipamOf } from '../verbs/ipam.ts'
import { callerOf } from './caller.ts'

/** Loads nothing that only links need: most DELs are done by the agent. */
export async function del(environment: Environment, stdin: string): Promise<void> {
  const context = { environment, conf: parseNetConf(stdin, environment), stdin, started: performance.timeOrigin }
  verifyOwner(context.conf.dataDir, context.conf.name)
  return delAttachment(context, attachmentOf(context))
}

export async function delAttachment(context: Context, attachment: Attachment): Promise<void> {
  const { conf } = context
  const ipam = ipamOf(context, attachment)
  const caller = callerOf(context.environment)
  const request = {
    op: 'del',
    attachment,
    lease: !ipam.isDelegated,
    ...(caller ? { caller } : {}),
    started: context.started,
  } as const
  const isDone = (await askIfAny(conf.dataDir, request)) !== undefined
  if (!isDone) await (await import('./remove-here.ts')).removeHere(conf, attachment, context.environment.netns)
  if (!isDone || ipam.isDelegated) {
    ipam.release()
    recordRemove(conf.dataDir, attachment)
  }
  if (!isDone) await (await import('./lone-keeper.ts')).reviveAgent(conf)
}
