/**
 * GC: removes every link and lease of the network that is not among the valid attachments. Goes on
 * after an error, and reports all.
 */
import { CniError, CODE } from '../cni/error.ts'
import type { NetConf } from '../cni/netconf.ts'
import { leaseOwner } from '../ipam/lease.ts'
import { isAmong, type Owner } from '../ipam/owner-file.ts'
import type { Attachment } from '../link/plan.ts'
import { recordCollect, recordList, recordSetAside, refuseUnreadable } from '../link/record.ts'
import { tell } from '../linux/read-write.ts'
import type { Context } from './context.ts'
import { ipamOf } from './ipam.ts'

/** `removeAll` removes an attachment: its link, its lease of the built-in IPAM, and its record. */
export async function gc(context: Context, removeAll: (attachment: Attachment) => Promise<void>): Promise<void> {
  const { conf } = context
  if (conf.validAttachments === undefined)
    throw new CniError(CODE.invalidConfig, '"cni.dev/valid-attachments" is missing: GC cannot tell which links are in use')
  const valid = conf.validAttachments
  const isValid = (attachment: Attachment) => isAmong(valid, attachment)
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
  for (const record of broken) {
    await attempt(() => {
      refuseUnreadable(record)
      tell(`The record ${record.file} cannot be used: ${record.reason}`)
      if (record.attachment !== undefined) return isLost(conf, record.attachment, valid) ? removeAll(record.attachment) : undefined
      if (!record.isNewer) recordSetAside(record) // the newer version still finds its own
    })
  }
  await attempt(() => recordCollect(conf.dataDir, conf.name))
  await attempt(() => ipamOf(context).collect(valid))
  if (failures.length > 0) throw new CniError(CODE.internal, `GC could not remove everything: ${failures.join('; ')}`)
}

/**
 * An attachment whose record is broken is known by that file's name, which does not say whether it
 * is an extra interface; its lease does.
 */
const isLost = ({ dataDir }: NetConf, attachment: Attachment, valid: Owner[]): boolean =>
  !isAmong(valid, leaseOwner(dataDir, attachment.network, attachment) ?? attachment)
