/**
 * Removes links: for DEL and GC, for the undo of an ADD, and for an ADD that finds what a killed
 * one has left.
 */
import type { Keeper } from '../link/keeper.ts'
import { type Attachment, hostIfname } from '../link/plan.ts'
import { isBroken, recordRead, recordRemove, refuseUnreadable } from '../link/record.ts'
import { type Remains, remove } from '../link/remove.ts'
import type { Netns } from '../linux/netns.ts'

/**
 * Removes the link from the kernel, by its record or, when that is missing or broken, by the names
 * derived from the attachment. Throws CniError 11 when the record cannot be read and `netns` is not
 * given. The record stays until the addresses are released, too. `netns` is the pod's namespace,
 * when it is known.
 */
export async function removeLink(
  attachment: Attachment,
  dataDir: string,
  keeper: Pick<Keeper, 'letGo' | 'deleteLink'>,
  netns?: Netns,
): Promise<void> {
  await keeper.letGo(hostIfname(attachment))
  await remove(remainsOf(attachment, dataDir, netns), dataDir, link => keeper.deleteLink(link), netns)
}

/** Without the record the pod's end is found only when its namespace is known. */
function remainsOf(attachment: Attachment, dataDir: string, netns: Netns | undefined): Remains {
  const record = recordRead(dataDir, attachment)
  if (netns === undefined) refuseUnreadable(record)
  return record === undefined || isBroken(record) ? attachment : record
}

/**
 * Removes all of an attachment: first the link, then its addresses, so that no address is leased
 * again while the link lives, then the record.
 */
export async function removeAttachment(
  attachment: Attachment,
  dataDir: string,
  keeper: Pick<Keeper, 'letGo' | 'deleteLink'>,
  release: () => void,
  netns?: Netns,
): Promise<void> {
  await removeLink(attachment, dataDir, keeper, netns)
  release()
  recordRemove(dataDir, attachment)
}
