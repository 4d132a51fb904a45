/** The free addresses of a set. */
import { lstatSync } from 'node:fs'
import { toAddress } from '../address.ts'
import { CniError, CODE } from '../cni/error.ts'
import { type Candidate, candidates } from './candidates.ts'
import type { Owner } from './owner-file.ts'
import { describeRange, type Pool, type Range } from './pool.ts'

export type FreeCandidates = Generator<Candidate, never>

export const addressOf = ({ value, range }: Candidate) => toAddress(value, range.family)

/**
 * Candidates whose name was not in `directory` a moment ago. Looking first keeps the owner's file
 * short when the pool is nearly full. Throws CniError 100 when there are no more.
 */
export function* freeCandidates(directory: string, owner: Owner, pool: Pool, set: Range[], wish: bigint | undefined): FreeCandidates {
  for (const candidate of candidates(pool, set, wish, `${owner.containerID}:${owner.ifname}`)) {
    if (lstatSync(`${directory}/${addressOf(candidate)}`, { throwIfNoEntry: false }) === undefined) yield candidate
  }
  if (wish !== undefined)
    throw new CniError(CODE.addressUnavailable, `requested address "${toAddress(wish, set[0]!.family)}" is not available`)
  throw new CniError(CODE.addressUnavailable, `no addresses available in range set: ${set.map(describeRange).join(', ')}`)
}
