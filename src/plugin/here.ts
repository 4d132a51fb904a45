/** Runs the verbs in the plugin's own process. */
import type { Environment } from '../cni/environment.ts'
import { parseNetConf } from '../cni/netconf.ts'
import { verifyOwner } from '../link/data-dir.ts'
import { add } from '../verbs/add.ts'
import { checkVerb } from '../verbs/check.ts'
import { attachmentOf, type Context } from '../verbs/context.ts'
import { gc } from '../verbs/gc.ts'
import { openNetns } from '../verbs/netns.ts'
import { status } from '../verbs/status.ts'
import { delAttachment } from './del.ts'
import { LoneKeeper, reviveAgent, takeUp } from './lone-keeper.ts'
import { warn } from './main.ts'

/** Runs one verb. Returns the text to print, undefined for nothing. Throws CniError. */
export async function runHere(environment: Environment, stdin: string): Promise<unknown> {
  const context: Context = { environment, conf: parseNetConf(stdin, environment), stdin, started: performance.timeOrigin }
  for (const warning of context.conf.warnings) warn(warning)
  // STATUS reports it in its own words
  if (environment.command !== 'STATUS') verifyOwner(context.conf.dataDir, context.conf.name)
  switch (environment.command) {
    case 'ADD':
      return addHere(context)
    case 'CHECK':
      try {
        return await checkVerb(context)
      } finally {
        await reviveAgent(context.conf) // afterwards: an agent would repair what CHECK is to find
      }
    case 'GC':
      // For GC: CNI_NETNS is none of the links' namespaces.
      await gc(context, attachment => delAttachment({ ...context, environment: { ...environment, netns: '' } }, attachment))
      return reviveAgent(context.conf)
    case 'STATUS': {
      const notStarted = await reviveAgent(context.conf, 'wait').catch((error: Error) => error)
      return status(context, notStarted ?? undefined)
    }
  }
}

/**
 * The link carries packets when this returns. An agent that holds its TUN open may start a moment
 * later.
 */
async function addHere(context: Context): Promise<string> {
  using netns = openNetns(context.environment.netns, context.environment)
  const result = await add(context, new LoneKeeper(context.conf), netns)
  if (context.conf.farEnd === 'host') await takeUp(context.conf, attachmentOf(context))
  return result
}
