/** ADD: lease, plan, apply; whatever fails, nothing of it stays. */

import { existsSync } from 'node:fs'
import { hostCidr } from '../address.ts'
import { ask, noAgent } from '../agent/client.ts'
import { askOrSpawn } from '../agent/spawn.ts'
import { CniError, CODE } from '../cni/error.ts'
import { appendResult, type Result } from '../cni/result.ts'
import { acquire, release } from '../ipam/lease.ts'
import { parseIpam } from '../ipam/pool.ts'
import { type Leased, type LinkPlan, planLink } from '../link/plan.ts'
import { recordRead } from '../link/record.ts'
import { attachmentOf, type Context, delegateIpam, isDelegated, verifyNetns } from './context.ts'
import { del } from './del.ts'

type FullLease = Leased & { dns?: Result['dns'] }

export async function add(context: Context): Promise<Result> {
  verifyNetns(context.environment)
  await refuseDuplicate(context)
  const lease = takeLease(context)
  try {
    const plan = planLink(context.conf, attachmentOf(context), context.environment.netns, lease)
    return resultOf(context, await applyPlan(context, plan), lease)
  } catch (error) {
    returnLease(context)
    throw error
  }
}

/** A record whose namespace is gone is what a lost DEL leaves: it is cleaned up, not an error for ever. */
async function refuseDuplicate(context: Context): Promise<void> {
  const { containerID, ifname } = attachmentOf(context)
  const record = recordRead(context.conf.dataDir, attachmentOf(context))
  if (record === undefined) return
  if (existsSync(record.netns)) {
    throw new CniError(
      CODE.invalidEnvironment,
      `CNI_CONTAINERID "${containerID}" has a link for CNI_IFNAME "${ifname}" already`,
      'DEL it first',
    )
  }
  await del(context)
}

function takeLease(context: Context): FullLease {
  const { conf } = context
  if (isDelegated(conf)) {
    const { ips, routes, dns } = delegateIpam(context, 'ADD')!
    return { ips, routes, dns }
  }
  if (conf.ipam !== undefined) return acquire(conf.dataDir, conf.name, attachmentOf(context), parseIpam(conf.ipam), conf.requestedIPs)
  if (conf.requestedIPs.length === 0) {
    throw new CniError(
      CODE.invalidConfig,
      'no IP address: "ipam" is missing, and none was requested by runtimeConfig.ips, args.cni.ips or CNI_ARGS IP',
    )
  }
  return { ips: conf.requestedIPs.map(ip => ({ address: ip.includes('/') ? ip : hostCidr(ip) })), routes: [] }
}

/** Undo of takeLease(); the error on the way out is the one to report. */
function returnLease(context: Context): void {
  const { conf } = context
  try {
    if (isDelegated(conf)) delegateIpam(context, 'DEL')
    else release(conf.dataDir, conf.name, attachmentOf(context))
  } catch (error) {
    process.stderr.write(`Cannot release the addresses of ${context.environment.containerID}: ${(error as Error).message}\n`)
  }
}

async function applyPlan({ conf }: Context, plan: LinkPlan): Promise<LinkPlan> {
  const request = { op: 'apply' as const, plan, started: performance.timeOrigin }
  if (plan.farEnd === 'host') return (await askOrSpawn(conf.dataDir, conf.agent, request)).plan as LinkPlan
  try {
    return (await ask(conf.dataDir, request)).plan as LinkPlan // one that runs is warm: it is faster than to load what this process would need
  } catch (error) {
    if (!noAgent(error)) throw error
  }
  const { apply } = await import('../link/apply.ts')
  return apply(conf.dataDir, plan).plan
}

function resultOf({ conf, environment }: Context, plan: LinkPlan, lease: FullLease): Result {
  const pod = { name: plan.ifname, ...(conf.zeroMac ? { mac: '00:00:00:00:00:00' } : {}), mtu: plan.mtu, sandbox: environment.netns }
  const interfaces = plan.host === undefined ? [pod] : [{ name: plan.host.ifname, mtu: plan.mtu }, pod]
  const own: Result = {
    cniVersion: conf.cniVersion,
    interfaces,
    ips: plan.pod.addresses.map((address, index) => ({
      interface: interfaces.length - 1,
      address: `${address.local}/${address.prefix}`,
      gateway: address.peer ?? (conf.addressing === 'subnet' ? lease.ips[index]?.gateway : undefined),
    })),
    routes: plan.pod.routes.map(({ onlink, ...route }) => route),
    dns: conf.dns ?? lease.dns ?? {},
  }
  return conf.prevResult === undefined ? own : appendResult(conf.prevResult, own)
}
