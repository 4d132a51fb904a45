import type { Environment } from '../cni/environment.ts'
import type { NetConf } from '../cni/netconf.ts'
import type { Attachment } from '../link/plan.ts'
import { Netns } from '../linux/netns.ts'
import { removeLink } from '../verbs/link.ts'
import { LoneKeeper } from './lone-keeper.ts'

/** Takes the link out of the kernel in this process, which loads what that needs. */
export async function removeHere(conf: NetConf, attachment: Attachment, environment: Environment): Promise<void> {
  using netns = environment.command === 'DEL' ? openIfThere(environment.netns) : undefined
  await removeLink(attachment, conf.dataDir, new LoneKeeper(conf), netns)
}

/** The pod's namespace, where the runtime names one: it is needed when the record cannot be used. */
function openIfThere(path: string): Netns | undefined {
  try {
    return path === '' ? undefined : new Netns(path)
  } catch {
    return undefined // the record knows, or the namespace is gone
  }
}
