/** The order in which a pool's addresses are tried. */

import type { Family } from '../address.ts'
import { fnv1a } from '../fnv.ts'
import type { Pool, Range } from './pool.ts'

export interface Candidate {
  value: bigint
  range: Range
}

/**
 * The requested address alone; else all of the set, beginning at a place derived from the owner's
 * name. Different owners thus begin at different places: the first try mostly succeeds, however
 * many leases there are, and an address just released is not the next to be given.
 */
export function* candidates(pool: Pool, set: Range[], wish: bigint | undefined, owner: string): Generator<Candidate> {
  const step = pool.pair ? 2n : 1n
  if (wish !== undefined) {
    const value = pool.pair ? wish - (wish % 2n) : wish
    const range = set.find(range => value >= range.first && value <= range.last)
    if (range !== undefined && isLeasable(pool, range, value)) yield { value, range }
    return
  }
  const sizes = set.map(range => (range.last - range.first) / step + 1n)
  const total = sizes.reduce((sum, size) => sum + size, 0n)
  const start = BigInt(`0x${fnv1a(owner)}`) % total
  for (let tried = 0n; tried < total; tried++) {
    let offset = (start + tried) % total
    const at = sizes.findIndex(size => {
      if (offset < size) return true
      offset -= size
      return false
    })
    const range = set[at]!
    const value = range.first + offset * step
    if (isLeasable(pool, range, value)) yield { value, range }
    else tried += skippable(pool, range, value, step, total - tried)
  }
}

/**
 * Inclusive bounds of addresses that are never leased: excluded ones, and the gateways of every
 * set.
 */
function reserved(pool: Pool, family: Family): { first: bigint; last: bigint }[] {
  const gateways = pool.sets.flat().filter(range => range.family === family && range.gateway !== undefined)
  return [...pool.exclude.filter(block => block.family === family), ...gateways.map(({ gateway }) => ({ first: gateway!, last: gateway! }))]
}

/**
 * How many more steps a reserved block covers: a large block is passed at once, not address by
 * address.
 */
function skippable(pool: Pool, range: Range, value: bigint, step: bigint, most: bigint): bigint {
  const block = reserved(pool, range.family).find(({ first, last }) => value >= first && value <= last)
  if (block === undefined) return 0n
  const end = block.last < range.last ? block.last : range.last
  const steps = (end - value) / step
  return steps < most ? steps : most
}

/** False for excluded addresses and gateways, and for pairs that contain one. */
function isLeasable(pool: Pool, { family }: Range, value: bigint): boolean {
  const last = pool.pair ? value + 1n : value
  return !reserved(pool, family).some(block => block.first <= last && block.last >= value)
}

/** How many leases the set can give. */
export function capacity(pool: Pool, set: Range[]): bigint {
  const step = pool.pair ? 2n : 1n
  let total = 0n
  for (const { family, first, last } of set) {
    total += (last - first) / step + 1n
    const blocks = reserved(pool, family)
      .filter(block => block.first <= last && block.last >= first)
      .sort((a, b) => (a.first < b.first ? -1 : 1))
    let next = 0n // the first step that no earlier block has covered: blocks may overlap
    for (const block of blocks) {
      const begin = block.first > first ? (block.first - first) / step : 0n
      const from = begin > next ? begin : next
      const end = ((block.last < last ? block.last : last) - first) / step
      if (end < from) continue
      total -= end - from + 1n
      next = end + 1n
    }
  }
  return total
}
