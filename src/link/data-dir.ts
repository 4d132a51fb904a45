/** The directory of records, leases, and the agent's socket. */
import { lstatSync } from 'node:fs'
import { CniError, CODE } from '../cni/error.ts'
import { makeDirectory } from '../make-directory.ts'

const OTHERS_MAY_WRITE = 0o022

/**
 * Makes the directory if it is missing. Throws CniError 5 when that fails, or when somebody else
 * could put something into it.
 */
export function openDataDir(dataDir: string): void {
  const refuse = (why: string) => new CniError(CODE.io, `"dataDir" ${JSON.stringify(dataDir)} cannot be used: ${why}`)
  const present = lstatSync(dataDir, { throwIfNoEntry: false })
  if (present !== undefined && !present.isDirectory()) throw refuse('ENOTDIR: it is not a directory')
  try {
    makeDirectory(dataDir, 0o700)
  } catch (error) {
    throw refuse((error as Error).message)
  }
  const { uid, mode } = lstatSync(dataDir)
  if (uid !== process.geteuid!()) throw refuse(`user ${uid} owns it; it must be owned by user ${process.geteuid!()}`)
  if (mode & OTHERS_MAY_WRITE) throw refuse(`its mode is ${(mode & 0o777).toString(8)}: others may write to it; chmod 700 it`)
}
