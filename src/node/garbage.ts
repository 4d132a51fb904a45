/**
 * What is left of pods whose DEL never came, since containerd and Multus send no GC: links whose
 * namespace is gone, devices and leases without a record. A node that loses power loses /run and
 * namespaces, not this process's chance to look.
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
 * An ADD takes seconds; a lease that is older and has no record belongs to none that is under way.
 */
const UNDER_WAY_MS = 10 * 60_000

/**
 * A device without a record in two looks that far apart belongs to no ADD or DEL that is under way.
 */
const SECOND_LOOK_MS = 50_000

export interface Collected {
  links: number
  devices: number
  leases: number
}

/** `del` removes a link with its record and leases, as the agent's request of that name does. */
export async function collectGarbage(
  dataDir: string,
  netlink: NetlinkSocket,
  strays: StrayDevices,
  del: (attachment: Attachment) => Promise<void>,
): Promise<Collected> {
  let links = 0
  for (const plan of recordList(dataDir).plans.filter(plan => isAbandoned(plan, isGone))) {
    const { network, containerID, ifname } = plan
    await del({ network, containerID, ifname })
    links++
  }
  // Devices first, then records: a record is there before its device and goes after it.
  const present = linkList(netlink)
  const devices = strays.look(strayDevices(present, knownLinks(dataDir)), Date.now())
  for (const { index } of devices) linkDelete(netlink, index)
  const leases = strayLeases(leaseOwners(dataDir, NETWORK), knownLinks(dataDir), Date.now())
  for (const owner of leases) release(dataDir, NETWORK, owner)
  return { links, devices: devices.length, leases: leases.length }
}

/** Every attachment with a record, one that cannot be used among them: DEL sees to that. */
function knownLinks(dataDir: string): Attachment[] {
  const { plans, broken } = recordList(dataDir, NETWORK)
  return [...plans, ...broken.flatMap(({ attachment }) => attachment ?? [])]
}

/** The namespace that a link was made in: records of before version 2 know the path alone. */
type Namespace = Pick<LinkPlan, 'netns'> & { netnsId?: { dev: number; ino: number } }

/**
 * True when the namespace is not at its path any more: nothing is, or another one. What is no
 * namespace (of another device) is not judged: it may be one whose mount has not come into
 * tunlinkd's container.
 */
export function isGone({ netns, netnsId }: Namespace): boolean {
  const found = statSync(netns, { throwIfNoEntry: false })
  if (found === undefined) return true
  return netnsId !== undefined && found.dev === netnsId.dev && found.ino !== netnsId.ino
}

/**
 * Only paths where runtimes bind namespaces can be judged: another process's /proc is not to be
 * seen from a container.
 */
export function isAbandoned(plan: LinkPlan, gone: (namespace: Namespace) => boolean): boolean {
  return /^(\/var)?\/run\/netns\//.test(plan.netns) && gone(plan)
}

type LinkSeen = Pick<Link, 'index' | 'name' | 'alias' | 'kind'>

/**
 * What was stray before. A carrier tells nothing: the node's end of a link that the kernel carries
 * always has one.
 */
export class StrayDevices {
  #sinceMs = new Map<string, number>()

  /** Those of `devices` that were stray in a look long enough before this one. */
  look(devices: LinkSeen[], nowMs: number): LinkSeen[] {
    const keyOf = ({ index, name, alias }: LinkSeen) => `${index} ${name} ${alias}`
    this.#sinceMs = new Map(devices.map(device => [keyOf(device), this.#sinceMs.get(keyOf(device)) ?? nowMs]))
    return devices.filter(device => nowMs - this.#sinceMs.get(keyOf(device))! >= SECOND_LOOK_MS)
  }
}

/**
 * The node's ends of our network that no record knows: a TUN of a wire by threads, a veth of the
 * kernel's.
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

/** Owners without a record, but for those whose ADD may be under way. */
export function strayLeases(owners: LeaseOwner[], records: Attachment[], nowMs: number): LeaseOwner[] {
  const known = new Set(records.map(({ containerID, ifname }) => `${containerID}:${ifname}`))
  return owners.filter(({ containerID, ifname, sinceMs }) => !known.has(`${containerID}:${ifname}`) && nowMs - sinceMs > UNDER_WAY_MS)
}

/**
 * What the leases' owner files say of themselves. One that was cut short names nobody: the plugin's
 * own collect() sees to it, as to drafts of a run that was killed.
 */
export function leaseOwners(dataDir: string, network: string): LeaseOwner[] {
  const directory = join(dataDir, 'ipam', network, '.owners')
  if (!existsSync(directory)) return []
  return readdirSync(directory)
    .filter(name => !isDraft(name))
    .flatMap(name => leaseOwner(join(directory, name)) ?? [])
}

/** One that cannot be read, or was released meanwhile, hides no other. */
function leaseOwner(file: string): LeaseOwner | undefined {
  try {
    const { mtimeMs: sinceMs } = lstatSync(file)
    const owner = readOwnerFile(file)?.owner
    return owner && { ...owner, sinceMs }
  } catch {
    return undefined
  }
}
