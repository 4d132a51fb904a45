/**
 * Leases, without a lock: the file system's link(2) is the lock.
 *
 *   <dataDir>/ipam/<network>/.owners/<containerID>:<ifname>
 *       who, and the addresses it has taken or was about to take
 *   <dataDir>/ipam/<network>/<address>                        a hard link to that file
 *
 * An address is written into the owner's file before it is linked, and released only where the link
 * is the owner's (same inode). So a crash at any point leaves nothing that release() or collect()
 * would not find, and neither looks at anybody else's lease.
 */
import { linkSync, lstatSync, readdirSync, rmSync } from 'node:fs'
import { parseAddress, parseCidr, toAddress, toNumber } from '../address.ts'
import { CniError, CODE } from '../cni/error.ts'
import type { Dns } from '../cni/result.ts'
import { asFileName } from '../fnv.ts'
import type { Route } from '../linux/route.ts'
import type { Candidate } from './candidates.ts'
import { addressOf, type FreeCandidates, freeCandidates } from './free-candidates.ts'
import {
  appendAddress,
  createOwnerFile,
  isAddressName,
  isAmong,
  isDraft,
  type Owner,
  type OwnerFile,
  readOwnerFile,
  removeOwnerFile,
} from './owner-file.ts'
import { describeRange, type Pool } from './pool.ts'

export type { Owner } from './owner-file.ts'

export interface Lease {
  /** `address` has the prefix of its subnet; `peer` is the other address of a pair. */
  ips: { address: string; gateway?: string; peer?: string }[]
  routes: Route[]
  dns?: Dns
}

const networkDir = (dataDir: string, network: string) => `${dataDir}/ipam/${network}`
const ownersDir = (dataDir: string, network: string) => `${networkDir(dataDir, network)}/.owners`

function ownerFile(dataDir: string, network: string, { containerID, ifname }: Owner): string {
  return `${ownersDir(dataDir, network)}/${asFileName(`${containerID}:${ifname}`)}`
}

/**
 * Takes one address (or pair) from each set of the pool: the requested one where `requested` has
 * one of that set. Throws CniError 100 when there is none, 7 when a requested address is in no set,
 * 4 when the owner has a lease already, 5 when the lease cannot be written.
 */
export function acquire(dataDir: string, network: string, owner: Owner, pool: Pool, requested: string[]): Lease {
  const wishes = matchRequests(pool, requested)
  const directory = networkDir(dataDir, network)
  const file = ownerFile(dataDir, network, owner)
  const searches = pool.sets.map((set, index) => freeCandidates(directory, owner, pool, set, wishes[index]))
  return fileWork(`lease an address in ${directory}`, () => {
    refuseSecond(directory, network, file)
    const first = searches.map(search => search.next().value)
    createOwnerFile(file, owner, first.map(addressOf))
    try {
      const ips = searches.map((search, index) => describe(pool, take(directory, file, search, first[index]!)))
      return { ips, routes: pool.routes, ...(pool.dns === undefined ? {} : { dns: pool.dns }) }
    } catch (error) {
      releaseFile(directory, file)
      throw error
    }
  })
}

/** Runs `body`. An error of the file system becomes CniError 5, which says what was tried. */
function fileWork<T>(doing: string, body: () => T): T {
  try {
    return body()
  } catch (error) {
    if (error instanceof CniError || (error as NodeJS.ErrnoException).code === undefined) throw error
    throw new CniError(CODE.io, `Cannot ${doing}: ${(error as Error).message}`)
  }
}

/**
 * Throws CniError 4 for an owner that has a lease. An owner's file without content is what a power
 * cut left of a pod that is gone: it is removed.
 */
function refuseSecond(directory: string, network: string, file: string): void {
  const found = readOwnerFile(file)
  if (found === undefined) return
  if (found.owner === undefined) {
    releaseFile(directory, file)
    return
  }
  throw new CniError(
    CODE.invalidEnvironment,
    `CNI_CONTAINERID "${found.owner.containerID}" has addresses for CNI_IFNAME "${found.owner.ifname}" in network "${network}" already`,
    'DEL it first',
  )
}

/** For each set the requested address, if any. */
function matchRequests(pool: Pool, requested: string[]): (bigint | undefined)[] {
  const wishes: (bigint | undefined)[] = pool.sets.map(() => undefined)
  for (const text of requested) {
    const parsed = parseCidr(text) ?? parseAddress(text)!
    const value = toNumber(parsed.bytes)
    const at = pool.sets.findIndex(
      (set, index) =>
        wishes[index] === undefined && set.some(range => range.family === parsed.family && value >= range.first && value <= range.last),
    )
    if (at < 0)
      throw new CniError(
        CODE.invalidConfig,
        `requested address "${text}" is in none of the ranges ${pool.sets.flat().map(describeRange).join(', ')}`,
      )
    wishes[at] = value
  }
  return wishes
}

/**
 * Links `first`, which the owner's file names already, or the next address of the set that nobody
 * has linked meanwhile.
 */
function take(directory: string, file: string, search: FreeCandidates, first: Candidate): Candidate {
  for (let candidate = first; ; ) {
    try {
      linkSync(file, `${directory}/${addressOf(candidate)}`)
      return candidate
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
    candidate = search.next().value
    appendAddress(file, addressOf(candidate))
  }
}

function describe({ pair }: Pool, { value, range }: Candidate): Lease['ips'][number] {
  return {
    address: `${toAddress(value, range.family)}/${range.prefix}`,
    ...(range.gateway === undefined ? {} : { gateway: toAddress(range.gateway, range.family) }),
    ...(pair ? { peer: toAddress(value ^ 1n, range.family) } : {}),
  }
}

/** Releases the owner's addresses. An owner without a lease is not an error. Throws CniError 5. */
export function release(dataDir: string, network: string, owner: Owner): void {
  const directory = networkDir(dataDir, network)
  fileWork(`give back a lease in ${directory}`, () => releaseFile(directory, ownerFile(dataDir, network, owner)))
}

function releaseFile(directory: string, file: string): void {
  let found: OwnerFile | undefined
  try {
    found = readOwnerFile(file)
  } catch (error) {
    // without a directory there is no lease
    if ((error as NodeJS.ErrnoException).code === 'ENOTDIR') return
    throw error
  }
  for (const address of found === undefined ? [] : heldBy(directory, found)) rmSync(`${directory}/${address}`, { force: true })
  removeOwnerFile(file)
}

/**
 * Addresses that are hard links to the owner's file: those that it names; when the file has more
 * links than that, all that are found.
 */
function heldBy(directory: string, { addresses, inode, links }: OwnerFile): string[] {
  const isHeld = (address: string) => inodeOf(`${directory}/${address}`) === inode
  const named = addresses.filter(isHeld)
  return named.length === links - 1 ? named : list(directory).filter(isAddressName).filter(isHeld)
}

const inodeOf = (path: string) => lstatSync(path, { throwIfNoEntry: false })?.ino

/** Addresses that the owner holds; undefined when it holds none. */
export function leaseOf(dataDir: string, network: string, owner: Owner): string[] | undefined {
  const directory = networkDir(dataDir, network)
  return fileWork(`read a lease in ${directory}`, () => {
    const found = readOwnerFile(ownerFile(dataDir, network, owner))
    const held = found === undefined ? [] : heldBy(directory, found)
    return held.length > 0 ? held : undefined
  })
}

/** Whose an attachment's lease is, as its file has it; undefined where no file says so. */
export const leaseOwner = (dataDir: string, network: string, owner: Owner): Owner | undefined =>
  fileWork(`read a lease in ${networkDir(dataDir, network)}`, () => readOwnerFile(ownerFile(dataDir, network, owner))?.owner)

/** A lease on disk. */
export interface LeaseOnDisk {
  file: string
  /** undefined when the file was truncated, or is not ours. */
  owner: Owner | undefined
  /** The addresses of the lease. */
  addresses: string[]
  /** When the file was written, in ms since the epoch. */
  writtenMs: number
}

/** All leases of a network; an empty list when it has no directory. Throws CniError 5. */
export function leaseList(dataDir: string, network: string): LeaseOnDisk[] {
  const [directory, owners] = [networkDir(dataDir, network), ownersDir(dataDir, network)]
  return fileWork(`read the leases in ${directory}`, () =>
    list(owners)
      .filter(name => !isDraft(name))
      .flatMap(name => {
        const file = `${owners}/${name}`
        const found = readOwnerFile(file)
        const writtenMs = lstatSync(file, { throwIfNoEntry: false })?.mtimeMs
        if (found === undefined || writtenMs === undefined) return [] // released meanwhile
        return [{ file, owner: found.owner, addresses: heldBy(directory, found), writtenMs }]
      }),
  )
}

/**
 * Releases every lease of the network whose owner is not in `valid`, the runtime's list, and every
 * address without an owner. Throws CniError 5.
 */
export function collect(dataDir: string, network: string, valid: Owner[]): void {
  const [directory, owners] = [networkDir(dataDir, network), ownersDir(dataDir, network)]
  const keep = new Set(valid.map(owner => ownerFile(dataDir, network, owner)))
  fileWork(`collect leases in ${directory}`, () => {
    const failures: Error[] = [] // a name that cannot be removed does not stop the others
    for (const name of list(owners).filter(name => !keep.has(`${owners}/${name}`))) {
      try {
        if (isDraft(name)) rmSync(`${owners}/${name}`, { force: true })
        else if (!isOf(valid, `${owners}/${name}`)) releaseFile(directory, `${owners}/${name}`)
      } catch (error) {
        failures.push(error as Error)
      }
    }
    collectOrphans(directory, owners)
    if (failures.length > 0) throw Object.assign(new Error(failures.map(({ message }) => message).join('; ')), { code: 'EIO' })
  })
}

/** True for an owner file that says that it is of one of the runtime's list. */
function isOf(valid: Owner[], file: string): boolean {
  const owner = readOwnerFile(file)?.owner
  return owner !== undefined && isAmong(valid, owner)
}

/**
 * After a power cut an address may still be linked when its owner's file is lost. Addresses are
 * looked at before owners: see release().
 */
function collectOrphans(directory: string, owners: string): void {
  const addresses = list(directory)
    .filter(isAddressName)
    .map(name => ({ path: `${directory}/${name}`, inode: inodeOf(`${directory}/${name}`) }))
  const owned = new Set(list(owners).map(name => inodeOf(`${owners}/${name}`)))
  for (const { path, inode } of addresses) {
    if (!owned.has(inode) && inodeOf(path) === inode) rmSync(path, { force: true })
  }
}

function list(directory: string): string[] {
  try {
    return readdirSync(directory)
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return []
    throw error
  }
}
