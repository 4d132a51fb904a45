/**
 * Owner files of leases: the first line says who, each other line is an address that it has taken
 * or was about to take.
 *
 *   {"containerID":"c1","ifname":"eth0","cniIfname":"eth0"}
 *   10.66.0.7
 *
 * A file comes under its name whole and synced, so that only a power cut or a broken disk can leave
 * one that says less than it holds. Its addresses are then the hard links to it, which have its
 * inode. Nothing here follows a symbolic link.
 */
import { closeSync, constants, fsyncSync, linkSync, lstatSync, openSync, rmSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import { parseAddress, toAddress, toNumber } from '../address.ts'
import { writeAll } from '../linux/read-write.ts'
import { makeDirectory } from '../make-directory.ts'
import { readSmallFile } from '../read-file.ts'

export interface Owner {
  containerID: string
  ifname: string
  /** CNI_IFNAME, which `ifname` differs from for an extra interface. 0.1.0 did not write it. */
  cniIfname?: string
}

/**
 * True when the runtime still has the attachment: its CNI_IFNAME is in the list `valid`. Where that
 * is not known, `ifname` may be that of an extra interface: it stays as long as its container.
 */
export const isAmong = (valid: Pick<Owner, 'containerID' | 'ifname'>[], { containerID, cniIfname }: Owner): boolean =>
  valid.some(other => other.containerID === containerID && (cniIfname === undefined || other.ifname === cniIfname))

export interface OwnerFile {
  /** undefined when the file was truncated, or is not ours. */
  owner: Owner | undefined
  /** Addresses that the file names, each once. The owner may hold others: see `links`. */
  addresses: string[]
  inode: number
  /** Number of names of the inode: the file itself, and the addresses held. */
  links: number
}

const { O_APPEND, O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY } = constants
const OWNER_ONLY = 0o600

/** The name of a file while it is being written. No containerID begins with a dot. */
const draftOf = (file: string) => `${dirname(file)}/.new-${basename(file)}`

/** True for the name of a file whose writing was not finished. */
export const isDraft = (name: string) => name.startsWith('.new-')

/** Makes the file, and its directory if need be. Throws EEXIST when the owner has one. */
export function createOwnerFile(file: string, owner: Owner, addresses: string[]): void {
  const { containerID, ifname, cniIfname } = owner
  const text = [JSON.stringify({ containerID, ifname, cniIfname }), ...addresses, ''].join('\n')
  const draft = draftOf(file)
  // left by a run that was killed: it may be the same inode as an owner's file, and must not be
  // written to
  rmSync(draft, { force: true })
  try {
    writeDraft(draft, text)
    linkSync(draft, file)
  } finally {
    rmSync(draft, { force: true })
  }
}

/**
 * The directory exists, except for the first lease: it is made after a failure, not looked for each
 * time.
 */
function writeDraft(draft: string, text: string): void {
  const write = () => writeSynced(draft, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, text)
  try {
    write()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    makeDirectory(dirname(draft), 0o700)
    write()
  }
}

/** Removes the file, and the unfinished file of a run that was killed. */
export function removeOwnerFile(file: string): void {
  rmSync(file, { force: true })
  rmSync(draftOf(file), { force: true })
}

/** Adds an address that the owner is about to take. */
export const appendAddress = (file: string, address: string): void => writeSynced(file, O_WRONLY | O_APPEND | O_NOFOLLOW, `${address}\n`)

function writeSynced(file: string, flags: number, text: string): void {
  const fd = openSync(file, flags, OWNER_ONLY)
  try {
    writeAll(fd, text)
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

/**
 * The content of `file`; undefined when it does not exist. A symbolic link, or anything else that
 * is not a regular file, has no addresses.
 */
export function readOwnerFile(file: string): OwnerFile | undefined {
  const stat = lstatSync(file, { throwIfNoEntry: false })
  if (stat === undefined) return undefined
  const { ino: inode, nlink: links } = stat
  if (!stat.isFile()) return { owner: undefined, addresses: [], inode, links: 1 }
  const [first, ...lines] = textOf(file).split('\n')
  return { owner: parseOwner(first!), addresses: [...new Set(lines.filter(isAddressName))], inode, links }
}

/** Empty text for a file that is too large to be ours. */
function textOf(file: string): string {
  try {
    return readSmallFile(file)
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    return ''
  }
}

function parseOwner(line: string): Owner | undefined {
  try {
    const { containerID, ifname, cniIfname } = JSON.parse(line) as Partial<Owner>
    if (typeof containerID !== 'string' || typeof ifname !== 'string') return undefined
    return { containerID, ifname, ...(typeof cniIfname === 'string' ? { cniIfname } : {}) }
  } catch {
    return undefined
  }
}

/** True for the canonical text of an address: leases have no other names. */
export function isAddressName(name: string): boolean {
  const address = parseAddress(name)
  return address !== undefined && toAddress(toNumber(address.bytes), address.family) === name
}
