/**
 * `tunlinkd uninstall`: first the conflist, so that no new pods come, then everything of ours that
 * no pod uses.
 */
import { closeSync, existsSync, readdirSync, rmdirSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ask, noAgent } from '../agent/client.ts'
import { endAgent } from '../agent/end.ts'
import { leaseList, type Owner, release } from '../ipam/lease.ts'
import { deleteFirewall } from '../link/firewall.ts'
import { droppingChains, openChain } from '../link/forward-policy.ts'
import type { Keeper } from '../link/keeper.ts'
import type { Attachment } from '../link/plan.ts'
import { recordList } from '../link/record.ts'
import { deleteAndWait } from '../linux/link-deleter.ts'
import { tryLock } from '../linux/lock.ts'
import { NetlinkSocket } from '../linux/netlink.ts'
import { NETLINK_NETFILTER } from '../linux/uapi.ts'
import { removeAttachment } from '../verbs/link.ts'
import { deleteClusterTable } from './cluster-table.ts'
import { parseConfig } from './config.ts'
import { CONFLIST, dataDirOf, NETWORK } from './conflist.ts'
import { collectGarbage, StrayDevices } from './garbage.ts'
import { openTunlinkdLock, readText, removeInstalled } from './install.ts'
import { describe, log } from './log.ts'
import type { Options } from './options.ts'
import { removeRoutes, removeVxlan } from './program.ts'

const LOCK_SECONDS = 60
const STAYS =
  'links, or addresses of other plugins’ pods, are in use: executable and state stay for their DEL; delete those pods and run this again'

/**
 * Returns how many links, and addresses of other plugins' pods, are in use and were left. Throws
 * when a tunlinkd runs: it would restore what is removed.
 */
export async function uninstall(options: Options): Promise<number> {
  const conflistPath = join(options.cniConfDir, CONFLIST)
  const dataDir = options.dataDir ?? dataDirOf(readText(conflistPath)) ?? parseConfig(readText(options.config) ?? '').dataDir
  const lock = await takeLock(dataDir)
  try {
    const conflist = removeInstalled(conflistPath)
    const links = await removeLinks(dataDir)
    const leases = leasesOfOthers(dataDir)
    const left = links + leases
    if (left === 0) await endAgent(dataDir).catch(error => log.warn('agent not ended', { error: describe(error) }))
    const routes = removeNetwork(left)
    const executable = left === 0 && removeInstalled(join(options.cniBinDir, 'tunlink'))
    log.info('uninstalled', { conflist, executable, routes, linksLeft: links, leasesLeft: leases })
    if (left > 0) log.warn(STAYS, { links, leases })
    else removeState(dataDir)
    return left
  } finally {
    closeSync(lock)
  }
}

async function takeLock(dataDir: string): Promise<number> {
  const lock = openTunlinkdLock(dataDir)
  for (let waited = 0; !tryLock(lock); waited++) {
    if (waited === 0) log.info('waiting for tunlinkd to end', { dataDir })
    if (waited >= LOCK_SECONDS) throw new Error('tunlinkd still runs on this node: delete its DaemonSet first')
    await sleep(1_000)
  }
  return lock
}

/**
 * Removes links whose namespace is gone; returns the number of the others, those of a newer tunlink
 * among them.
 */
async function removeLinks(dataDir: string): Promise<number> {
  const netlink = new NetlinkSocket()
  try {
    const failed = (what: string, error: unknown) => log.warn('not removed', { what, error: describe(error) })
    await collectGarbage(dataDir, netlink, new StrayDevices(), attachment => removeLink(dataDir, attachment), failed)
  } finally {
    netlink[Symbol.dispose]()
  }
  const { plans, broken } = recordList(dataDir)
  return plans.length + broken.filter(({ isNewer, isUnreadable }) => isNewer || isUnreadable).length
}

/** The number of leases that pods of other plugins have, whose IPAM is tunlink's. */
function leasesOfOthers(dataDir: string): number {
  const keyOf = (network: string, { containerID, ifname }: Owner) => `${network} ${containerID} ${ifname}`
  const known = new Set(recordList(dataDir).plans.map(plan => keyOf(plan.network, plan)))
  const directory = join(dataDir, 'ipam')
  const entries = existsSync(directory) ? readdirSync(directory, { withFileTypes: true }) : []
  const networks = entries.filter(entry => entry.isDirectory() && entry.name !== NETWORK)
  const leases = networks.flatMap(({ name }) => leaseList(dataDir, name).map(lease => ({ name, ...lease })))
  return leases.filter(({ name, owner }) => owner !== undefined && !known.has(keyOf(name, owner))).length
}

/** Asks the agent, which may hold a device of the link; without one, this process does it. */
async function removeLink(dataDir: string, attachment: Attachment): Promise<void> {
  try {
    await ask(dataDir, { op: 'del', attachment, lease: true, started: Date.now() })
    return
  } catch (error) {
    if (!noAgent(error)) throw error
  }
  await removeAttachment(attachment, dataDir, NO_AGENT, () => release(dataDir, attachment.network, attachment))
}

const NO_AGENT: Pick<Keeper, 'letGo' | 'deleteLink'> = { letGo: async () => {}, deleteLink: deleteAndWait }

/** Returns how many routes there were. */
function removeNetwork(links: number): number {
  const netlink = new NetlinkSocket()
  const netfilter = new NetlinkSocket(NETLINK_NETFILTER)
  try {
    const routes = removeRoutes(netlink)
    removeVxlan(netlink)
    deleteClusterTable(netfilter)
    for (const chain of droppingChains(netfilter)) openChain(netfilter, chain, [])
    if (links === 0) deleteFirewall(netfilter)
    return routes
  } finally {
    netlink[Symbol.dispose]()
    netfilter[Symbol.dispose]()
  }
}

/**
 * Removes the directory's contents, and the directory unless it is a mount point (of a container,
 * whose root may be read-only).
 */
function removeState(dataDir: string): void {
  for (const name of readdirSync(dataDir)) rmSync(join(dataDir, name), { recursive: true, force: true })
  try {
    if (dirname(dataDir) !== '/') rmdirSync(dataDir)
  } catch (error) {
    if (!['EBUSY', 'EROFS', 'ENOTEMPTY'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error
  }
}
