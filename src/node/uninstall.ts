/** `tunlinkd uninstall`: the conflist first, so that no pod comes any more, then everything else that is ours and no pod still uses. */
import { closeSync, readdirSync, rmdirSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { endAgent } from '../agent/end.ts'
import { deleteFirewall } from '../link/firewall.ts'
import { recordList } from '../link/record.ts'
import { remove } from '../link/remove.ts'
import { tryLock } from '../linux/lock.ts'
import { NetlinkSocket } from '../linux/netlink.ts'
import { NETLINK_NETFILTER } from '../linux/uapi.ts'
import { deleteClusterTable } from './cluster-table.ts'
import { parseConfig } from './config.ts'
import { CONFLIST, dataDirOf } from './conflist.ts'
import { collectGarbage } from './garbage.ts'
import { openTunlinkdLock, readText, removeInstalled } from './install.ts'
import { log } from './log.ts'
import type { Options } from './options.ts'
import { removeRoutes, removeVxlan } from './program.ts'

const LOCK_SECONDS = 60

/** How many links are still in use and were left. Throws when a tunlinkd runs: it would heal what is removed. */
export async function uninstall(options: Options): Promise<number> {
  const conflistPath = join(options.cniConfDir, CONFLIST)
  const dataDir = options.dataDir ?? dataDirOf(readText(conflistPath)) ?? parseConfig(readText(options.config) ?? '').dataDir
  const lock = await takeLock(dataDir)
  try {
    const conflist = removeInstalled(conflistPath)
    if (recordList(dataDir).every(plan => plan.host === undefined)) await endAgent(dataDir)
    const links = await removeLinks(dataDir)
    const routes = removeNetwork(links)
    const executable = links === 0 && removeInstalled(join(options.cniBinDir, 'tunlink'))
    log.info('uninstalled', { conflist, executable, routes, linksLeft: links })
    if (links > 0) log.warn('links are in use: executable and state stay for their DEL; delete those pods and run this again', { links })
    else removeState(dataDir)
    return links
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

/** Those whose namespace has gone; the number of the others. */
async function removeLinks(dataDir: string): Promise<number> {
  const netlink = new NetlinkSocket()
  try {
    await collectGarbage(dataDir, netlink, async request => {
      const plan = request.op === 'remove' && recordList(dataDir, request.attachment.network).find(sameAs(request.attachment))
      if (plan) await remove(dataDir, plan)
    })
  } finally {
    netlink[Symbol.dispose]()
  }
  return recordList(dataDir).length
}

const sameAs = (one: { containerID: string; ifname: string }) => (other: { containerID: string; ifname: string }) =>
  one.containerID === other.containerID && one.ifname === other.ifname

/** How many routes there were. */
function removeNetwork(links: number): number {
  const netlink = new NetlinkSocket()
  const netfilter = new NetlinkSocket(NETLINK_NETFILTER)
  try {
    const routes = removeRoutes(netlink)
    removeVxlan(netlink)
    deleteClusterTable(netfilter)
    if (links === 0) deleteFirewall(netfilter)
    return routes
  } finally {
    netlink[Symbol.dispose]()
    netfilter[Symbol.dispose]()
  }
}

/** What is in the directory, and the directory where it is no mount point. */
function removeState(dataDir: string): void {
  for (const name of readdirSync(dataDir)) rmSync(join(dataDir, name), { recursive: true, force: true })
  try {
    if (dirname(dataDir) !== '/') rmdirSync(dataDir)
  } catch (error) {
    if (!['EBUSY', 'ENOTEMPTY'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error
  }
}
