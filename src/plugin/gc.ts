/** GC: removes every link and lease of the network that is not among the valid attachments; goes on after an error and reports all. */
import { CniError, CODE } from '../cni/error.ts'
import { collect } from '../ipam/lease.ts'
import { recordCollect, recordList } from '../link/record.ts'
import { type Context, delegateIpam, isDelegated } from './context.ts'
import { removeLink } from './del.ts'

export async function gc(context: Context): Promise<void> {
  const { conf } = context
  const valid = conf.validAttachments
  if (valid === undefined) {
    throw new CniError(CODE.invalidConfig, '"cni.dev/valid-attachments" is missing: without the list nothing can be told to be garbage')
  }
  const isValid = ({ containerID, ifname }: { containerID: string; ifname: string }) =>
    valid.some(attachment => attachment.containerID === containerID && (conf.ifName ?? attachment.ifname) === ifname)
  const failures: string[] = []
  for (const plan of recordList(conf.dataDir, conf.name).filter(plan => !isValid(plan))) {
    await removeLink(conf.dataDir, plan).catch((error: Error) => failures.push(error.message))
  }
  recordCollect(conf.dataDir, conf.name)
  try {
    if (isDelegated(conf)) delegateIpam(context, 'GC')
    else
      collect(
        conf.dataDir,
        conf.name,
        conf.ifName === undefined ? valid : valid.map(attachment => ({ ...attachment, ifname: conf.ifName! })),
      )
  } catch (error) {
    failures.push((error as Error).message)
  }
  if (failures.length > 0) throw new CniError(CODE.internal, `GC could not remove everything: ${failures.join('; ')}`)
}
