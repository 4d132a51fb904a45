/** The directory of records, leases, and the agent's socket. */
import { lstatSync, type Stats } from 'node:fs'
import { CniError, CODE } from '../cni/error.ts'
import { makeDirectory } from '../make-directory.ts'

const OTHERS_MAY_WRITE = 0o022

const refusal = (dataDir: string, why: string) => new CniError(CODE.io, `"dataDir" ${JSON.stringify(dataDir)} cannot be used: ${why}`)

/**
 * Makes the directory if it is missing. Throws CniError 5 when that fails, or when others could
 * write to it: see verifyOwner().
 */
export function openDataDir(dataDir: string, network?: string): void {
  const present = lstatSync(dataDir, { throwIfNoEntry: false })
  if (present !== undefined && !present.isDirectory()) throw refusal(dataDir, 'ENOTDIR: it is not a directory')
  try {
    makeDirectory(dataDir, 0o700)
  } catch (error) {
    throw refusal(dataDir, (error as Error).message)
  }
  verifyOwner(dataDir, network)
}

/**
 * Throws CniError 5 when another user owns the directory or may write to it, or to its directories
 * of records and leases, or when one of them is a symbolic link: nothing in it can be trusted then.
 * A missing directory is not an error.
 */
export function verifyOwner(dataDir: string, network?: string): void {
  const parts = network === undefined ? ['', '/links', '/ipam'] : ['', ...partsOf(network)]
  for (const path of parts.map(part => dataDir + part)) {
    const found = lstatOf(path)
    if (found === undefined) continue
    if (found.isSymbolicLink()) throw refusal(dataDir, `${JSON.stringify(path)} is a symbolic link; put a directory in its place`)
    if (!found.isDirectory()) continue
    const { uid, mode } = found
    if (uid !== process.geteuid!()) throw refusal(dataDir, `${where(path, dataDir)}user ${uid} owns it; ${mendOf(uid)}`)
    if (mode & OTHERS_MAY_WRITE)
      throw refusal(dataDir, `${where(path, dataDir)}its mode is ${(mode & 0o777).toString(8)}: others may write to it; chmod 700 it`)
  }
}

const mendOf = (owner: number) => (owner === 0 ? 'run this as root' : `chown it to user ${process.geteuid!()}`)

const partsOf = (network: string) => ['/links', `/links/${network}`, '/ipam', `/ipam/${network}`, `/ipam/${network}/.owners`]

const where = (path: string, dataDir: string) => (path === dataDir ? '' : `${JSON.stringify(path)}: `)

/** undefined also when a file stands in the place of a directory: opening it then fails. */
function lstatOf(path: string): Stats | undefined {
  try {
    return lstatSync(path, { throwIfNoEntry: false })
  } catch (error) {
    if (['ENOTDIR', 'ENAMETOOLONG'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined
    throw refusal(path, (error as Error).message)
  }
}
