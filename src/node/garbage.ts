/**
 * What is left of pods whose DEL never came, since containerd and Multus send no GC: links whose namespace is gone, devices and leases
 * without a record. A node that loses power loses /run and namespaces, not this process's chance to look.
 */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { Request } from '../agent/protocol.ts'
import { type Owner, release } from '../ipam/lease.ts'
import { hostIfname, type LinkPlan } from '../link/plan.ts'
import { recordList } from '../link/record.ts'
import { type Link, linkDelete, linkList } from '../linux/link.ts'
import type { NetlinkSocket } from '../linux/netlink.ts'
import { NETWORK } from './conflist.ts'

/** An ADD takes seconds; a lease that is older and has no record belongs to none that is under way. */
const UNDER_WAY_MS = 10 * 60_000

export interface Collected {
  links: number
  devices: number
  leases: number
}

export async function collectGarbage(
  dataDir: string,
  netlink: NetlinkSocket,
  ask: (request: Request) => Promise<unknown>,
): Promise<Collected> {
  let links = 0
  for (const plan of recordList(dataDir).filter(plan => isAbandoned(plan, existsSync))) {
    await ask({ op: 'remove', attachment: plan, started: Date.now() })
    release(dataDir, plan.network, plan)
    links++
  }
  // Devices first, then records: a record is there before its device and goes after it.
  const present = linkList(netlink)
  const devices = strayDevices(present, recordList(dataDir))
  for (const { index } of devices) linkDelete(netlink, index)
  const leases = strayLeases(leaseOwners(dataDir, NETWORK), recordList(dataDir, NETWORK), Date.now())
  for (const owner of leases) release(dataDir, NETWORK, owner)
  return { links, devices: devices.length, leases: leases.length }
}

/** Only paths where runtimes bind namespaces can be judged: another process's /proc is not to be seen from a container. */
export function isAbandoned(plan: LinkPlan, exists: (path: string) => boolean): boolean {
  return /^(\/var)?\/run\/netns\//.test(plan.netns) && !exists(plan.netns)
}

type LinkSeen = Pick<Link, 'index' | 'name' | 'alias' | 'kind' | 'running'>

/** Our ends of our network that no record knows and no process serves (a TUN device has a carrier while somebody holds it). */
export function strayDevices(links: LinkSeen[], records: LinkPlan[]): LinkSeen[] {
  const known = new Set(records.map(plan => plan.host?.ifname))
  return links.filter(({ name, alias, kind, running }) => {
    const attachment = parseAlias(alias)
    return kind === 'tun' && !running && attachment?.network === NETWORK && hostIfname(attachment) === name && !known.has(name)
  })
}

/** See linkAlias(). */
function parseAlias(alias: string | undefined) {
  const [, network, containerID, ifname] = /^tunlink:([^/]+)\/([^/]+)\/([^/]+)$/.exec(alias ?? '') ?? []
  return network && containerID && ifname ? { network, containerID, ifname } : undefined
}

export interface LeaseOwner extends Owner {
  /** When the lease was taken, ms since the epoch. */
  sinceMs: number
}

/** Owners without a record, but for those whose ADD may be under way. */
export function strayLeases(owners: LeaseOwner[], records: LinkPlan[], nowMs: number): LeaseOwner[] {
  const known = new Set(records.map(({ containerID, ifname }) => `${containerID}:${ifname}`))
  return owners.filter(({ containerID, ifname, sinceMs }) => !known.has(`${containerID}:${ifname}`) && nowMs - sinceMs > UNDER_WAY_MS)
}

/** What the leases' owner files say of themselves; see lease.ts. */
function leaseOwners(dataDir: string, network: string): LeaseOwner[] {
  const directory = join(dataDir, 'ipam', network, '.owners')
  if (!existsSync(directory)) return []
  return readdirSync(directory).flatMap(name => {
    try {
      const file = join(directory, name)
      const { containerID, ifname } = JSON.parse(readFileSync(file, 'utf8').split('\n')[0]!) as Owner
      return [{ containerID, ifname, sinceMs: statSync(file).mtimeMs }]
    } catch {
      return [] // released meanwhile, or cut short by a crash: the plugin's own collect() sees to those
    }
  })
}
