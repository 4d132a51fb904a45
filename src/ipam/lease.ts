/**
 * Leases, without a lock: the file system's link(2) is the lock.
 *
 *   <dataDir>/ipam/<network>/.owners/<containerID>:<ifname>   who, and the addresses it has taken or was about to take
 *   <dataDir>/ipam/<network>/<address>                        a hard link to that file
 *
 * An address is written into the owner's file before it is linked, and released only where the link is the owner's (same inode). So a
 * crash at any point leaves nothing that release() or collect() would not find, and neither looks at anybody else's lease.
 */
import { appendFileSync, existsSync, linkSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { parseAddress, parseCidr, toAddress, toNumber } from '../address.ts'
import { CniError, CODE } from '../cni/error.ts'
import { asFileName } from '../fnv.ts'
import type { Route } from '../linux/route.ts'
import { candidates, capacity, isLeasable } from './candidates.ts'
import { describeRange, type Pool, type Range } from './pool.ts'
import type { Dns } from './resolv-conf.ts'

export interface Owner {
  containerID: string
  ifname: string
}

export interface Lease {
  /** `address` with the prefix of its subnet; `peer` is the other of a pair. */
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
 * Takes one address (or pair) from each set of the pool: the requested one where `requested` has one of that set.
 * Throws CniError 100 when there is none, 7 when a requested address is in no set, 4 when the owner has a lease already.
 */
export function acquire(dataDir: string, network: string, owner: Owner, pool: Pool, requested: string[]): Lease {
  const wishes = matchRequests(pool, requested)
  const file = ownerFile(dataDir, network, owner)
  writeOwner(dataDir, network, owner, file)
  try {
    const ips = pool.sets.map((set, index) => take(networkDir(dataDir, network), file, owner, pool, set, wishes[index]))
    return { ips, routes: pool.routes, ...(pool.dns === undefined ? {} : { dns: pool.dns }) }
  } catch (error) {
    release(dataDir, network, owner)
    throw error
  }
}

/** The directory is there but for the first lease: it is made when it was missing, not looked for each time. */
function writeOwner(dataDir: string, network: string, owner: Owner, file: string): void {
  try {
    writeFileSync(file, `${JSON.stringify({ containerID: owner.containerID, ifname: owner.ifname })}\n`, { flag: 'wx', mode: 0o600 })
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EEXIST')
      throw new CniError(
        CODE.invalidEnvironment,
        `CNI_CONTAINERID "${owner.containerID}" has addresses for CNI_IFNAME "${owner.ifname}" in network "${network}" already`,
        'DEL it first',
      )
    if (code !== 'ENOENT') throw error
    mkdirSync(ownersDir(dataDir, network), { recursive: true, mode: 0o700 })
    writeOwner(dataDir, network, owner, file)
  }
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

function take(directory: string, file: string, owner: Owner, pool: Pool, set: Range[], wish: bigint | undefined): Lease['ips'][number] {
  for (const { value, range } of candidates(pool, set, wish, `${owner.containerID}:${owner.ifname}`)) {
    const address = toAddress(value, range.family)
    // Looking first keeps the owner's file, and so release(), short when the pool is nearly full; link() decides all the same.
    if (existsSync(`${directory}/${address}`)) continue
    appendFileSync(file, `${address}\n`)
    try {
      linkSync(file, `${directory}/${address}`)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') continue
      throw error
    }
    return {
      address: `${address}/${range.prefix}`,
      ...(range.gateway === undefined ? {} : { gateway: toAddress(range.gateway, range.family) }),
      ...(pool.pair ? { peer: toAddress(value ^ 1n, range.family) } : {}),
    }
  }
  if (wish !== undefined)
    throw new CniError(CODE.addressUnavailable, `requested address "${toAddress(wish, set[0]!.family)}" is not available`)
  throw new CniError(CODE.addressUnavailable, `no addresses available in range set: ${set.map(describeRange).join(', ')}`)
}

/** Gives back what the owner has. Nothing there is no error. */
export function release(dataDir: string, network: string, owner: Owner): void {
  releaseFile(networkDir(dataDir, network), ownerFile(dataDir, network, owner))
}

function releaseFile(directory: string, file: string): void {
  const inode = statSync(file, { throwIfNoEntry: false })?.ino
  if (inode === undefined) return
  for (const address of addressesIn(file)) {
    const path = `${directory}/${address}`
    if (statSync(path, { throwIfNoEntry: false })?.ino === inode) rmSync(path, { force: true })
  }
  rmSync(file, { force: true })
}

/** The lines behind the first that are addresses: a crash may have cut the last one short. */
const addressesIn = (file: string) =>
  readFileSync(file, 'utf8')
    .split('\n')
    .slice(1)
    .filter(line => parseAddress(line) !== undefined)

/** Addresses that the owner holds; undefined when it holds none. */
export function leaseOf(dataDir: string, network: string, owner: Owner): string[] | undefined {
  const file = ownerFile(dataDir, network, owner)
  const inode = statSync(file, { throwIfNoEntry: false })?.ino
  if (inode === undefined) return undefined
  const held = addressesIn(file).filter(
    address => statSync(`${networkDir(dataDir, network)}/${address}`, { throwIfNoEntry: false })?.ino === inode,
  )
  return held.length > 0 ? held : undefined
}

/** Releases every lease of the network whose owner is not in `valid`, and every address without an owner. */
export function collect(dataDir: string, network: string, valid: Owner[]): void {
  const directory = ownersDir(dataDir, network)
  const keep = new Set(valid.map(owner => ownerFile(dataDir, network, owner)))
  for (const name of list(directory)) {
    if (!keep.has(`${directory}/${name}`)) releaseFile(networkDir(dataDir, network), `${directory}/${name}`)
  }
  collectOrphans(networkDir(dataDir, network), directory)
}

/** A power cut may keep the link of an address and lose what its owner's file said. Addresses are looked at before owners: see release(). */
function collectOrphans(directory: string, owners: string): void {
  const inode = (path: string) => statSync(path, { throwIfNoEntry: false })?.ino
  const addresses = list(directory)
    .filter(name => parseAddress(name) !== undefined)
    .map(name => ({ path: `${directory}/${name}`, ino: inode(`${directory}/${name}`) }))
  const owned = new Set(list(owners).map(name => inode(`${owners}/${name}`)))
  for (const { path, ino } of addresses) {
    if (!owned.has(ino) && inode(path) === ino) rmSync(path, { force: true })
  }
}

/** True when some set has no address left. Counts files: for STATUS, not for ADD. */
export function exhausted(dataDir: string, network: string, pool: Pool): boolean {
  const leased = list(networkDir(dataDir, network))
    .map(name => parseAddress(name))
    .filter(address => address !== undefined)
  return pool.sets.some(set => {
    const taken = leased.filter(({ family, bytes }) =>
      set.some(range => {
        const value = toNumber(bytes)
        return range.family === family && value >= range.first && value <= range.last && isLeasable(pool, range, value)
      }),
    )
    return BigInt(taken.length) >= capacity(pool, set)
  })
}

function list(directory: string): string[] {
  try {
    return readdirSync(directory)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}
