import type { NetConf } from '../cni/netconf.ts'
import type { Attachment } from '../link/plan.ts'
import { removeLink } from '../verbs/link.ts'
import { LoneKeeper } from './lone-keeper.ts'

/** Takes the link out of the kernel in this process, which loads what that needs. */
export const removeHere = (conf: NetConf, attachment: Attachment): Promise<void> =>
  removeLink(attachment, conf.dataDir, new LoneKeeper(conf))
