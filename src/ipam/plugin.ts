/** The verbs of the built-in IPAM for another plugin that names it under `ipam.type`. */
import { accessSync, constants } from 'node:fs'
import { CniError, CODE } from '../cni/error.ts'
import { makeDirectory } from '../make-directory.ts'
import { acquire, collect, type Lease, leaseOf, type Owner, release } from './lease.ts'
import { type Pool, parseIpam } from './pool.ts'

export interface IpamInput extends Owner {
  network: string
  dataDir: string
  ipam: Record<string, unknown>
  requestedIPs: string[]
}

const poolOf = ({ ipam }: IpamInput): Pool => parseIpam(ipam)

/** The addresses keep their subnet's prefix, which the other plugin expects. */
export const ipamAdd = (input: IpamInput): Lease => acquire(input.dataDir, input.network, input, poolOf(input), input.requestedIPs)

export const ipamDel = (input: IpamInput): void => release(input.dataDir, input.network, input)

/** Throws CniError 999 when the owner has no lease. */
export function ipamCheck(input: IpamInput): void {
  if (leaseOf(input.dataDir, input.network, input) === undefined) {
    throw new CniError(
      CODE.internal,
      `CNI_CONTAINERID "${input.containerID}" has no addresses for CNI_IFNAME "${input.ifname}" in network "${input.network}"`,
    )
  }
}

export const ipamGc = (input: IpamInput, valid: Owner[]): void => collect(input.dataDir, input.network, valid)

/**
 * Throws CniError 7 for an invalid pool, 50 when no lease could be written. A full pool is not
 * reported here: ADD reports it.
 */
export function ipamStatus(input: IpamInput): void {
  poolOf(input)
  try {
    makeDirectory(input.dataDir, 0o700)
    accessSync(input.dataDir, constants.W_OK)
  } catch (error) {
    throw new CniError(CODE.pluginNotAvailable, 'plugin not available', `"ipam.dataDir" is "${input.dataDir}": ${(error as Error).message}`)
  }
}
