/** CHECK: the link, its addresses and routes, the lease, the agent. */
import { ask, noAgent } from '../agent/client.ts'
import { CniError, CODE } from '../cni/error.ts'
import { leaseOf } from '../ipam/lease.ts'
import { recordRead } from '../link/record.ts'
import { attachmentOf, type Context, delegateIpam, isDelegated } from './context.ts'

export async function checkVerb(context: Context): Promise<void> {
  const { conf, environment } = context
  const attachment = attachmentOf(context)
  if (conf.prevResult === undefined) throw new CniError(CODE.invalidConfig, 'prevResult is missing: CHECK needs the result of ADD')
  const ours = conf.prevResult.interfaces.find(({ name, sandbox }) => name === attachment.ifname && sandbox !== undefined)
  if (ours === undefined) throw new CniError(CODE.invalidConfig, `prevResult has no interface "${attachment.ifname}" with a sandbox`)
  if (ours.sandbox !== environment.netns)
    throw new CniError(
      CODE.invalidConfig,
      `prevResult has "${attachment.ifname}" in "${ours.sandbox}", not in CNI_NETNS "${environment.netns}"`,
    )
  const plan = recordRead(conf.dataDir, attachment)
  if (plan === undefined)
    throw new CniError(
      CODE.unknownContainer,
      `CNI_CONTAINERID "${attachment.containerID}" has no link for CNI_IFNAME "${attachment.ifname}" on record in ${conf.dataDir}`,
    )
  if (isDelegated(conf)) delegateIpam(context, 'CHECK')
  else if (conf.ipam !== undefined && leaseOf(conf.dataDir, conf.name, attachment) === undefined) {
    throw new CniError(CODE.internal, `the addresses of CNI_CONTAINERID "${attachment.containerID}" are not leased any more`)
  }
  if (plan.farEnd === 'host') await checkWire(conf.dataDir, plan.host!.ifname)
  const { check } = await import('../link/check.ts')
  const faults = check(plan, ours.mtu)
  if (faults.length > 0) throw new CniError(CODE.internal, `CHECK failed: ${faults[0]}`, faults.slice(1).join('; ') || undefined)
}

async function checkWire(dataDir: string, link: string): Promise<void> {
  try {
    const { links } = await ask(dataDir, { op: 'list' })
    if (!(links as { link: string }[]).some(open => open.link === link))
      throw new CniError(CODE.internal, `CHECK failed: the agent has no wire for ${link}`)
  } catch (error) {
    if (noAgent(error))
      throw new CniError(CODE.internal, `CHECK failed: no agent answers at ${dataDir}/agent.sock, so ${link} carries nothing`)
    throw error
  }
}
