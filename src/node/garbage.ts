/**
 * Finds what is left of pods whose DEL never came, as containerd and Multus send no GC: links whose
 * namespace is gone, devices and leases without a record.
 */
import { existsSync, lstatSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { release } from '../ipam/lease.ts'
import { isDraft, type Owner, readOwnerFile } from '../ipam/owner-file.ts'
import { type Attachment, hostIfname, type LinkPlan } from '../link/plan.ts'
import { recordList } from '../link/record.ts'
import { type Link, linkDelete, linkList } from '../linux/link.ts'
import type { NetlinkSocket } from '../linux/netlink.ts'
import { NETWORK } from './conflist.ts'

/**
 * An ADD takes seconds: a lease that is older than this and has no record belongs to none that is
 * under way.
 */
const UNDER_WAY_MS = 10 * 60_000

/**
 * A device without a record in two looks this far apart belongs to no ADD or DEL that is under way.
 */
const SECOND_LOOK_MS = 50_000

export interface Collected {
  links: number
  devices: number
  leases: number
}

/**
 * `del` removes a link with its record and leases: the agent's request of this name. What cannot be
 * removed does not stop the rest; the errors are given to `failed`.
 */
export async function collectGarbage(
  dataDir: string,
  netlink: NetlinkSocket,
  strays: StrayDevices,
  del: (attachment: Attachment) => Promise<void>,
  failed: (what: string, error: unknown) => void,
): Promise<Collected> {
  /** Removes each of `found`; returns how many it could. */
  const each = async <T>(found: T[], nameOf: (one: T) => string, remove: (one: T) => void | Promise<void>): Promise<number> => {
    let count = 0
    for (const one of found) {
      try {
        await remove(one)
        count++
      } catch (error) {
        failed(nameOf(one), error)
      }
    }
    return count
  }
  const nameOf = ({ containerID, ifname }: Owner) => `${containerID} ${ifname}`
  const abandoned = recordList(dataDir).plans.filter(plan => isAbandoned(plan, isGone))
  const links = await each(abandoned, nameOf, ({ network, containerID, ifname }) => del({ network, containerID, ifname }))
  // Devices are read first, then records: a record is written before its device is made, and
  // removed after it.
  const present = linkList(netlink)
  const stray = strays.look(strayDevices(present, knownLinks(dataDir)), performance.now())
  const devices = await each(
    stray,
    ({ name }) => name,
    ({ index }) => linkDelete(netlink, index),
  )
  const owners = strayLeases(leaseOwners(dataDir, NETWORK), knownLinks(dataDir), Date.now())
  const leases = await each(owners, nameOf, owner => release(dataDir, NETWORK, owner))
  return { links, devices, leases }
}

/** Every attachment with a record, including records that cannot be used: DEL handles those. */
function knownLinks(dataDir: string): Attachment[] {
  const { plans, broken } = recordList(dataDir, NETWORK)
  return [...plans, ...broken.flatMap(({ attachment }) => attachment ?? [])]
}

/** The namespace in which a link was made; records of version 1 have only the path. */
type Namespace = Pick<LinkPlan, 'netns'> & { netnsId?: { dev: number; ino: number } }

/**
 * True when the namespace is gone from its path: nothing, or another namespace, is there. A path on
 * another kind of file system is not judged: its mount may not have reached tunlinkd's container
 * yet.
 */
export function isGone({ netns, netnsId }: Namespace): boolean {
  const found = statSync(netns, { throwIfNoEntry: false })
  if (found === undefined) return true
  return netnsId !== undefined && found.dev === netnsId.dev && found.ino !== netnsId.ino
}

/**
 * Only paths where runtimes bind namespaces can be judged: a container does not see other
 * processes' /proc.
 */
export function isAbandoned(plan: LinkPlan, gone: (namespace: Namespace) => boolean): boolean {
  return /^(\/var)?\/run\/netns\//.test(plan.netns) && gone(plan)
}

type LinkSeen = Pick<Link, 'index' | 'name' | 'alias' | 'kind'>

/**
 * Devices that were stray before. Carrier is no criterion: the node's end of a kernel wire always
 * has one.
 */
export class StrayDevices {
  #sinceMs = new Map<string, number>()

  /** Those of `devices` that were stray in a look long enough ago. */
  look(devices: LinkSeen[], nowMs: number): LinkSeen[] {
    const keyOf = ({ index, name, alias }: LinkSeen) => `${index} ${name} ${alias}`
    this.#sinceMs = new Map(devices.map(device => [keyOf(device), this.#sinceMs.get(keyOf(device)) ?? nowMs]))
    return devices.filter(device => nowMs - this.#sinceMs.get(keyOf(device))! >= SECOND_LOOK_MS)
  }
}

/**
 * The node's ends of our network without a record: a TUN of a thread wire, a veth of a kernel wire.
 */
export function strayDevices(links: LinkSeen[], records: Attachment[]): LinkSeen[] {
  const known = new Set(records.map(hostIfname))
  return links.filter(({ name, alias, kind }) => {
    const attachment = parseAlias(alias)
    const isOurs = attachment?.network === NETWORK && hostIfname(attachment) === name
    return (kind === 'tun' || kind === 'veth') && isOurs && !known.has(name)
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

/** Owners without a record, except those whose ADD may be under way. */
export function strayLeases(owners: LeaseOwner[], records: Attachment[], nowMs: number): LeaseOwner[] {
  const known = new Set(records.map(({ containerID, ifname }) => `${containerID}:${ifname}`))
  return owners.filter(({ containerID, ifname, sinceMs }) => !known.has(`${containerID}:${ifname}`) && nowMs - sinceMs > UNDER_WAY_MS)
}

/**
 * The contents of the leases' owner files. A truncated file names no owner: the plugin's own
 * collect() removes it, and the drafts of killed runs.
 */
export function leaseOwners(dataDir: string, network: string): LeaseOwner[] {
  const directory = join(dataDir, 'ipam', network, '.owners')
  if (!existsSync(directory)) return []
  return readdirSync(directory)
    .filter(name => !isDraft(name))
    .flatMap(name => leaseOwner(join(directory, name)) ?? [])
}

/** A file that cannot be read, or was released meanwhile, does not hide the others. */
function leaseOwner(file: string): LeaseOwner | undefined {
  try {
    const { mtimeMs: sinceMs } = lstatSync(file)
    const owner = readOwnerFile(file)?.owner
    return owner && { ...owner, sinceMs }
  } catch {
    return undefined
  }
}
