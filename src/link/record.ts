/**
 * Records: one file for each attachment, with its plan:
 * `<dataDir>/links/<network>/<containerID>:<ifname>.json`. It is on disk before the kernel is
 * touched, and removed when the link is gone. A record that cannot be read is reported, and does
 * not hide the others.
 */
import { closeSync, constants, fsyncSync, lstatSync, openSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { CniError, CODE } from '../cni/error.ts'
import { asFileName } from '../fnv.ts'
import { writeAll } from '../linux/read-write.ts'
import { makeDirectory } from '../make-directory.ts'
import { readSmallFile, refuseLarge } from '../read-file.ts'
import type { Attachment, LinkPlan } from './plan.ts'
import { NewerRecordError, parseRecord } from './record-format.ts'

const directory = (dataDir: string, network: string) => `${dataDir}/links/${network}`

/**
 * ":" can be in neither part, so two attachments never share a file; a name that is too long is
 * replaced by its hash.
 */
export const recordFile = ({ containerID, ifname }: Pick<Attachment, 'containerID' | 'ifname'>) =>
  `${asFileName(`${containerID}:${ifname}`)}.json`

const path = (dataDir: string, attachment: Attachment) => `${directory(dataDir, attachment.network)}/${recordFile(attachment)}`

/**
 * The name is derived, as a runtime never makes two calls on one attachment at a time: the leftover
 * of a writer that was killed is found again.
 */
const temporary = (file: string) => `${file}.tmp`

/**
 * A record that cannot be used, and why. `attachment` is taken from the file's name, where that
 * names one.
 */
export interface BrokenRecord {
  file: string
  network: string
  attachment?: Attachment
  reason: string
  /**
   * True when the file could not be read just now, for want of a descriptor or memory: it may be a
   * good record.
   */
  isUnreadable: boolean
  /** True when the record is of a newer tunlink: its link may be in use. */
  isNewer: boolean
}

const { O_CREAT, O_NOFOLLOW, O_NONBLOCK, O_TRUNC, O_WRONLY } = constants

/** Refuses a FIFO in the file's place, which would block. */
const WRITE_FLAGS = O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_NONBLOCK

/**
 * Writes atomically and synced: after a power cut, too, a reader sees the whole plan or none.
 * Throws CniError 7 for a plan that no reader would take: nothing may be made by it.
 */
export function recordWrite(dataDir: string, plan: LinkPlan): void {
  const text = textOf(plan)
  makeDirectory(directory(dataDir, plan.network), 0o700)
  const file = path(dataDir, plan)
  try {
    const fd = openSync(temporary(file), WRITE_FLAGS, 0o600)
    try {
      writeAll(fd, text)
      fsyncSync(fd)
    } finally {
      closeSync(fd)
    }
    renameSync(temporary(file), file)
  } catch (error) {
    rmSync(temporary(file), { force: true, recursive: true })
    throw error
  }
}

function textOf(plan: LinkPlan): string {
  const text = JSON.stringify(plan)
  try {
    refuseLarge(Buffer.byteLength(text))
    parseRecord(text)
    return text
  } catch (error) {
    throw new CniError(CODE.invalidConfig, `the link's record could not be read again: ${(error as Error).message}`)
  }
}

/** The plan; undefined when there is no record. */
export function recordRead(dataDir: string, attachment: Attachment): LinkPlan | BrokenRecord | undefined {
  return read(dataDir, attachment.network, recordFile(attachment))
}

/** Throws CniError 11 for a record that could not be read: work that needs it must wait. */
export function refuseUnreadable(record: LinkPlan | BrokenRecord | undefined): void {
  if (record === undefined || !isBroken(record) || !record.isUnreadable) return
  throw new CniError(CODE.tryAgainLater, `Cannot read the record ${record.file}: ${record.reason}`)
}

export const isBroken = (record: LinkPlan | BrokenRecord): record is BrokenRecord => 'reason' in record

export function recordRemove(dataDir: string, attachment: Attachment): void {
  const file = path(dataDir, attachment)
  // also removes a directory that stands in the place of either
  for (const path of [file, temporary(file)]) rmSync(path, { force: true, recursive: true })
}

/** Renames a record that cannot be used, and whose file name names no attachment. */
export const recordSetAside = ({ file }: BrokenRecord): void => renameSync(file, `${file}.broken`)

/**
 * Removes leftovers of writers that were killed. For GC: no other call may run at the same time.
 * Goes on after an error, and throws one that names all.
 */
export function recordCollect(dataDir: string, network: string): void {
  const failures: string[] = []
  for (const name of list(directory(dataDir, network)).filter(name => name.endsWith('.tmp'))) {
    try {
      rmSync(`${directory(dataDir, network)}/${name}`, { force: true, recursive: true })
    } catch (error) {
      failures.push((error as Error).message)
    }
  }
  if (failures.length > 0) throw new Error(failures.join('; '))
}

/** All records, of one network if named. */
export function recordList(dataDir: string, network?: string): { plans: LinkPlan[]; broken: BrokenRecord[] } {
  const plans: LinkPlan[] = []
  const broken: BrokenRecord[] = []
  for (const name of network === undefined ? networksOf(dataDir) : [network]) {
    for (const file of list(directory(dataDir, name)).filter(file => file.endsWith('.json'))) {
      const record = read(dataDir, name, file)
      if (record === undefined) continue
      if (isBroken(record)) broken.push(record)
      else plans.push(record)
    }
  }
  return { plans, broken }
}

function read(dataDir: string, network: string, name: string): LinkPlan | BrokenRecord | undefined {
  const file = `${directory(dataDir, network)}/${name}`
  try {
    const plan = parseRecord(readSmallFile(file))
    if (plan.network !== network || recordFile(plan) !== name)
      throw new SyntaxError(`it is about ${JSON.stringify(`${plan.network} ${plan.containerID} ${plan.ifname}`)}`)
    return plan
  } catch (error) {
    const { code, syscall } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') return undefined
    const isUnreadable = syscall !== undefined && !NO_FILE.includes(code ?? '')
    const [, containerID, ifname] = /^([^:~]+):([^:~]+)\.json$/.exec(name) ?? []
    const attachment = containerID && ifname ? { attachment: { network, containerID, ifname } } : {}
    return { file, network, ...attachment, reason: (error as Error).message, isUnreadable, isNewer: error instanceof NewerRecordError }
  }
}

/** True for a symbolic link or a directory, which are never records. */
const NO_FILE = ['ELOOP', 'EMLINK', 'EISDIR', 'ENOTDIR']

/** Only directories: the target of a symbolic link is not ours. */
const networksOf = (dataDir: string) =>
  list(`${dataDir}/links`).filter(name => lstatSync(`${dataDir}/links/${name}`, { throwIfNoEntry: false })?.isDirectory())

function list(path: string): string[] {
  try {
    return readdirSync(path)
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return []
    throw error
  }
}
