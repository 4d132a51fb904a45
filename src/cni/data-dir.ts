/** The key `dataDir`: where records, leases and the agent's socket are. */
import { CODE } from './error.ts'
import { optionalString, type Place, refuse, type Values } from './must-be.ts'

/** Size of `sun_path` in struct sockaddr_un, unix(7), with the terminating zero. */
const SUN_PATH = 108

/** The longest name of a socket under the directory. */
const LONGEST_SOCKET = '/agent.sock'

/** Bytes. */
export const MOST_DATA_DIR = SUN_PATH - 1 - LONGEST_SOCKET.length

/**
 * PATH_MAX of <linux/limits.h>, less the network's and the lease's names (NAME_MAX each), and the
 * characters between them.
 */
export const MOST_WITHOUT_SOCKET = 4096 - 2 * 255 - '/ipam//.owners/\0'.length

/** A tmpfs, which a reboot clears together with the links. */
export const DEFAULT_DATA_DIR = '/run/tunlink'

/**
 * The directory of a network of ours. Throws CniError 7 for a path that is too long for a socket.
 */
export function dataDirOf(raw: Values): string {
  return verify(raw, MOST_DATA_DIR) ?? DEFAULT_DATA_DIR
}

/** The directory of another plugin's leases: no socket lies in it. */
export function ipamDataDirOf(ipam: Values): string {
  return verify(ipam, MOST_WITHOUT_SOCKET, { path: 'ipam.', code: CODE.invalidConfig }) ?? DEFAULT_DATA_DIR
}

function verify(values: Values, most: number, place?: Place): string | undefined {
  const dataDir = optionalString(values, 'dataDir', place)
  if (dataDir === undefined) return undefined
  if (!dataDir.startsWith('/') || dataDir.includes('\0') || Buffer.byteLength(dataDir) > most)
    throw refuse('dataDir', `an absolute path of at most ${most} bytes`, dataDir, place)
  return dataDir
}
