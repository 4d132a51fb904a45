import type { NetConf } from '../cni/netconf.ts'
import type { Attachment } from '../link/plan.ts'
import { Netns } from '../linux/netns.ts'
import { removeLink } from '../verbs/link.ts'
import { LoneKeeper } from './lone-keeper.ts'

/**
 * Removes the link from the kernel in this process, and loads the modules for that. `netns` is the
 * path that the runtime gave, or empty: the record may be broken and have none.
 */
export async function removeHere(conf: NetConf, attachment: Attachment, netns: string): Promise<void> {
  const opened = netns === '' ? undefined : openIfThere(netns)
  try {
    await removeLink(attachment, conf.dataDir, new LoneKeeper(conf), opened)
  } finally {
    opened?.[Symbol.dispose]()
  }
}

/** undefined where the namespace is gone, or never existed: the record says what to do then. */
function openIfThere(path: string): Netns | undefined {
  try {
    return new Netns(path)
  } catch {
    return undefined
  }
}
