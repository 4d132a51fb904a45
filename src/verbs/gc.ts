/**
 * GC: removes every link and lease of the network that is not among the valid attachments. Goes on
 * after an error, and reports all.
 */
import { CniError, CODE } from '../cni/error.ts'
import type { Attachment } from '../link/plan.ts'
import { type BrokenRecord, recordCollect, recordList, recordSetAside, refuseUnreadable } from '../link/record.ts'
import type { Context } from './context.ts'
import { ipamOf } from './ipam.ts'

/** `removeAll` removes an attachment: its link, its lease of the built-in IPAM, and its record. */
export async function gc(context: Context, removeAll: (attachment: Attachment) => Promise<void>): Promise<void> {
  const { conf } = context
  if (conf.validAttachments === undefined)
    throw new CniError(CODE.invalidConfig, '"cni.dev/valid-attachments" is missing: GC cannot tell which links are in use')
  // In a chain the runtime knows the attachment by CNI_IFNAME, and we know it by the name of our
  // own interface.
  const valid = conf.validAttachments.map(({ containerID, ifname }) => ({ containerID, ifname: conf.ifName ?? ifname }))
  const isValid = (attachment: Attachment) =>
    valid.some(({ containerID, ifname }) => containerID === attachment.containerID && ifname === attachment.ifname)
  const failures: string[] = []
  const attempt = async (body: () => void | Promise<void>) => {
    try {
      await body()
    } catch (error) {
      failures.push((error as Error).message)
    }
  }
  const { plans, broken } = recordList(conf.dataDir, conf.name)
  for (const plan of plans) if (!isValid(plan)) await attempt(() => removeAll(plan))
  for (const record of broken) await attempt(() => collectBroken(record, isValid, removeAll))
  await attempt(() => recordCollect(conf.dataDir, conf.name))
  await attempt(() => ipamOf(context).collect(valid))
  if (failures.length > 0) throw new CniError(CODE.internal, `GC could not remove everything: ${failures.join('; ')}`)
}

/** The file's name says which attachment it is, unless it was too long for a file name. */
async function collectBroken(
  record: BrokenRecord,
  isValid: (attachment: Attachment) => boolean,
  removeAll: (attachment: Attachment) => Promise<void>,
): Promise<void> {
  refuseUnreadable(record)
  process.stderr.write(`The record ${record.file} cannot be used: ${record.reason}\n`)
  if (record.attachment === undefined) {
    if (!record.isNewer) recordSetAside(record) // the newer version still finds its own records
  } else if (!isValid(record.attachment)) await removeAll(record.attachment)
}
