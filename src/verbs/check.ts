/**
 * CHECK: the link and everything it depends on, its addresses and routes, the lease, and for a
 * thread wire the agent.
 */
import { ask, noAgent } from '../agent/client.ts'
import { CniError, CODE } from '../cni/error.ts'
import { check } from '../link/check.ts'
import { isBroken, recordRead } from '../link/record.ts'
import { attachmentOf, type Context } from './context.ts'
import { ipamOf } from './ipam.ts'

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
  const record = recordRead(conf.dataDir, attachment)
  if (record === undefined)
    throw new CniError(
      CODE.unknownContainer,
      `CNI_CONTAINERID "${attachment.containerID}" has no link for CNI_IFNAME "${attachment.ifname}" on record in ${conf.dataDir}`,
    )
  if (isBroken(record)) throw new CniError(CODE.internal, `CHECK failed: the record ${record.file} cannot be used: ${record.reason}`)
  ipamOf(context).check(record.pod.addresses.map(({ local }) => local))
  const destinations = conf.prevResult.routes.map(({ dst }) => dst)
  const faults = check(record, { mtu: ours.mtu, destinations })
  if (record.wire === 'thread') faults.push(...(await threadFaults(conf.dataDir, record.host!.ifname)))
  if (faults.length > 0) throw new CniError(CODE.internal, `CHECK failed: ${faults[0]}`, faults.slice(1).join('; ') || undefined)
}

/**
 * Why a thread wire carries no packets: `link` is the name of the node’s end. undefined when it
 * carries them.
 */
export async function threadFaults(dataDir: string, link: string): Promise<string[]> {
  try {
    const { links } = await ask(dataDir, { op: 'list' })
    const open = links.find(candidate => candidate.link === link)
    return open?.isOpen ? [] : [`the agent has no wire for ${link}, so it carries nothing`]
  } catch (error) {
    if (noAgent(error)) return [`no agent answers at ${dataDir}/agent.sock, so ${link} carries nothing`]
    throw error
  }
}
