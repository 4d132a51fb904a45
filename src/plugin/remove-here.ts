import type { NetConf } from '../cni/netconf.ts'
import type { Attachment } from '../link/plan.ts'
import { Netns } from '../linux/netns.ts'
import { removeLink } from '../verbs/link.ts'
import { LoneKeeper } from './lone-keeper.ts'

/**
 * Takes the link out of the kernel in this process, which loads what that needs. `netns` is the
 * path that the runtime gave, or empty: the record may be broken and say none.
 */
export async function removeHere(conf: NetConf, attachment: Attachment, netns: string): Promise<void> {
  const opened = netns === '' ? undefined : openIfThere(netns)
  try {
    await removeLink(attachment, conf.dataDir, new LoneKeeper(conf), opened)
  } finally {
    opened?.[Symbol.dispose]()
  }
}

/**
 * undefined where the namespace is gone, or never was one: the record says what is to be done then.
 */
function openIfThere(path: string): Netns | undefined {
  try {
    return new Netns(path)
  } catch {
    return undefined
  }
}
