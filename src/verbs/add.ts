/**
 * ADD: clear what a killed run has left, lease, plan, record, apply. The agent runs this function
 * where one answers, else the plugin's process. There is one undo: the link, then the lease, and
 * the record only when both are gone.
 */
import { podNameOf } from '../cni/args.ts'
import { CniError, CODE } from '../cni/error.ts'
import { appendResult, printResult, type Result } from '../cni/result.ts'
import { apply } from '../link/apply.ts'
import { openDataDir } from '../link/data-dir.ts'
import { defaultRouteMtu } from '../link/default-mtu.ts'
import type { Keeper } from '../link/keeper.ts'
import { type Circumstances, hostIfname, type LinkPlan, planLink } from '../link/plan.ts'
import { untilReady } from '../link/ready.ts'
import { isBroken, recordRead, recordWrite, refuseUnreadable } from '../link/record.ts'
import { linkIsThere } from '../link/remove.ts'
import { ifNameToIndex } from '../linux/libc.ts'
import { NetlinkSocket } from '../linux/netlink.ts'
import type { Netns } from '../linux/netns.ts'
import { tell } from '../linux/read-write.ts'
import { chooseWire } from '../wire/choose.ts'
import { attachmentOf, type Context } from './context.ts'
import { ipamOf, type Lease } from './ipam.ts'
import { removeAttachment, removeLink } from './link.ts'

/** Bytes: the MTU of Ethernet, for a TUN whose far end is not the node. */
const ATTACH_MTU = 1500

/** A process that was killed closes its TUNs within so many milliseconds. */
const MOST_BUSY_MS = 1_000
/** Milliseconds from one try to the next. */
const RETRY_MS = 40

/**
 * Resolves with the result's JSON. `netns` is the pod's namespace, which the caller closes.
 * `isCallerGone` is true when the runtime has given up: it will send a DEL, or has sent it, and no
 * link may exist after that.
 */
export async function add(context: Context, keeper: Keeper, netns: Netns, isCallerGone = () => false): Promise<string> {
  const until = performance.now() + MOST_BUSY_MS
  for (;;) {
    try {
      return await addOnce(context, keeper, netns, isCallerGone)
    } catch (error) {
      if (!isBusy(error) || performance.now() > until) throw error
    }
    await new Promise(resolve => setTimeout(resolve, RETRY_MS))
  }
}

/**
 * True when a TUN of this name is open in another process. That may be an agent that was killed in
 * the middle of this same ADD, whose descriptors the kernel has not closed yet.
 */
const isBusy = (error: unknown) => (error as NodeJS.ErrnoException).code === 'EBUSY'

async function addOnce(context: Context, keeper: Keeper, netns: Netns, isCallerGone: () => boolean): Promise<string> {
  const { dataDir } = context.conf
  openDataDir(dataDir, context.conf.name)
  await clearLeftovers(context, keeper, netns)
  const ipam = ipamOf(context)
  try {
    const lease = ipam.acquire()
    const plan = planLink(context.conf, attachmentOf(context), circumstances(context, netns), lease)
    recordWrite(dataDir, plan)
    await keeper.keep(plan, apply(plan, dataDir, netns))
    await untilReady(plan, netns)
    const result = printResult(resultOf(context, plan, lease), context.conf.cniVersion)
    if (isCallerGone()) throw new CniError(CODE.tryAgainLater, 'the runtime gave up before the link was made')
    return result
  } catch (error) {
    await removeAttachment(attachmentOf(context), dataDir, keeper, () => ipam.release(), netns).catch((undoError: Error) => {
      tell(`The undo of this ADD is left to DEL: ${undoError.message}`)
    })
    throw error
  }
}

/**
 * Removes what a call that did not end well has left, which would otherwise fail every later ADD: a
 * link whose namespace is gone (its DEL was lost), a broken record (a power cut), a lease or device
 * without a record (a killed process), a link that an agent began for this same ADD before it was
 * killed. No other process works on this attachment: a runtime makes one call at a time.
 */
async function clearLeftovers(context: Context, keeper: Keeper, netns: Netns): Promise<void> {
  const { dataDir } = context.conf
  const attachment = attachmentOf(context)
  const record = recordRead(dataDir, attachment)
  refuseUnreadable(record)
  const ipam = ipamOf(context)
  if (record === undefined) {
    if (ifNameToIndex(hostIfname(attachment)) !== 0) await removeLink(attachment, dataDir, keeper, netns)
    if (!ipam.isDelegated) ipam.release()
    return
  }
  if (isBroken(record) && record.isNewer)
    throw new CniError(
      CODE.invalidEnvironment,
      `CNI_CONTAINERID "${attachment.containerID}" has a link for CNI_IFNAME "${attachment.ifname}" already: ${record.file}: ${record.reason}`,
      'DEL it first',
    )
  if (!isBroken(record) && record.started !== context.started && linkIsThere(record, netns)) {
    throw new CniError(
      CODE.invalidEnvironment,
      `CNI_CONTAINERID "${attachment.containerID}" has a link for CNI_IFNAME "${attachment.ifname}" already`,
      'DEL it first',
    )
  }
  await removeAttachment(attachment, dataDir, keeper, () => ipam.release(), netns)
}

function circumstances({ conf, environment, started }: Context, { id }: Netns): Circumstances {
  const mtu = conf.mtu ?? (conf.farEnd === 'host' ? nodeMtu() : ATTACH_MTU)
  const wire = conf.farEnd === 'host' ? chooseWire(conf.wire, mtu) : undefined
  return { netns: environment.netns, netnsId: id, wire, mtu, podName: podNameOf(environment.args), started }
}

function nodeMtu(): number {
  using node = new NetlinkSocket()
  return defaultRouteMtu(node)
}

function resultOf({ conf, environment }: Context, plan: LinkPlan, lease: Lease): Result {
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
