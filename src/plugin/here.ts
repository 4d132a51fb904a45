/** The verbs in the plugin's own process; DEL, and GC's removals, by the agent where one answers. */
import { askIfAny } from '../agent/reach.ts'
import type { Environment } from '../cni/environment.ts'
import { parseNetConf } from '../cni/netconf.ts'
import type { Attachment } from '../link/plan.ts'
import { recordRemove } from '../link/record.ts'
import { add } from '../verbs/add.ts'
import { checkVerb } from '../verbs/check.ts'
import { attachmentOf, BUILT_IN_IPAM, type Context, openNetns } from '../verbs/context.ts'
import { gc } from '../verbs/gc.ts'
import { ipamOf } from '../verbs/ipam.ts'
import { runIpam } from '../verbs/ipam-plugin.ts'
import { removeLink } from '../verbs/link.ts'
import { status } from '../verbs/status.ts'
import { LoneKeeper, reviveAgent } from './lone-keeper.ts'
import { callerOf } from './main.ts'

/** Runs one verb; what to print, undefined for nothing. Throws CniError. */
export async function runHere(environment: Environment, stdin: string): Promise<unknown> {
  if (isIpamCall(stdin)) return runIpam(environment, stdin)
  const context: Context = { environment, conf: parseNetConf(stdin, environment), stdin }
  switch (environment.command) {
    case 'ADD':
      return addHere(context)
    case 'DEL':
      return del(context, attachmentOf(context))
    case 'CHECK':
      await reviveAgent(context.conf, 'wait')
      return checkVerb(context)
    case 'GC':
      await gc(context, attachment => del(context, attachment))
      return reviveAgent(context.conf)
    case 'STATUS':
      await reviveAgent(context.conf, 'wait')
      return status(context)
  }
}

/** The link carries packets when this returns; an agent that holds its TUN open may come a moment later. */
async function addHere(context: Context): Promise<string> {
  using netns = openNetns(context.environment.netns, context.environment)
  const result = await add(context, new LoneKeeper(context.conf), netns)
  await reviveAgent(context.conf)
  return result
}

async function del(context: Context, attachment: Attachment): Promise<void> {
  const { conf, environment } = context
  const ipam = ipamOf({ ...context, conf: { ...conf, ifName: attachment.ifname }, environment: { ...environment, ...attachment } })
  const caller = environment.netns === '' ? undefined : callerOf(environment)
  const lease = !ipam.isDelegated
  const request = { op: 'del', attachment, lease, ...(caller ? { caller } : {}), started: performance.timeOrigin } as const
  if ((await askIfAny(conf.dataDir, request)) === undefined) {
    await removeLink(attachment, conf.dataDir, new LoneKeeper(conf))
    if (lease) ipam.release()
  }
  if (ipam.isDelegated) ipam.release()
  recordRemove(conf.dataDir, attachment)
  await reviveAgent(conf)
}

/** True when another plugin's configuration names this one as its IPAM. */
function isIpamCall(stdin: string): boolean {
  try {
    const { type, ipam } = JSON.parse(stdin)
    return ipam?.type === BUILT_IN_IPAM && typeof type === 'string' && type !== BUILT_IN_IPAM
  } catch {
    return false
  }
}
