/** In which order a pool's addresses are tried. */
import { createHash } from 'node:crypto'
import type { Pool, Range } from './pool.ts'

export interface Candidate {
  value: bigint
  range: Range
}

/**
 * The requested address alone; else all of the set, from a place that the owner's name decides. Owners thus start apart, so that the
 * first try mostly succeeds however many leases there are, and an address just released is not the next to be given.
 */
export function* candidates(pool: Pool, set: Range[], wish: bigint | undefined, owner: string): Generator<Candidate> {
  const step = pool.pair ? 2n : 1n
  if (wish !== undefined) {
    const value = pool.pair ? wish - (wish % 2n) : wish
    const range = set.find(range => value >= range.first && value <= range.last)
    if (range !== undefined && isLeasable(pool, set, range, value)) yield { value, range }
    return
  }
  const sizes = set.map(range => (range.last - range.first) / step + 1n)
  const total = sizes.reduce((sum, size) => sum + size, 0n)
  const start = BigInt(`0x${createHash('sha256').update(owner).digest('hex')}`) % total
  for (let tried = 0n; tried < total; tried++) {
    let offset = (start + tried) % total
    const at = sizes.findIndex(size => {
      if (offset < size) return true
      offset -= size
      return false
    })
    const range = set[at]!
    const value = range.first + offset * step
    if (isLeasable(pool, set, range, value)) yield { value, range }
    else tried += skippable(pool, range, value, step, total - tried)
  }
}

/** How many more steps an excluded block covers, so that a large one is not walked through. */
function skippable(pool: Pool, range: Range, value: bigint, step: bigint, most: bigint): bigint {
  const block = pool.exclude.find(({ family, first, last }) => family === range.family && value >= first && value <= last)
  if (block === undefined) return 0n
  const end = block.last < range.last ? block.last : range.last
  const steps = (end - value) / step
  return steps < most ? steps : most
}

function isLeasable(pool: Pool, set: Range[], { family }: Range, value: bigint): boolean {
  const last = pool.pair ? value + 1n : value
  const touches = (first: bigint, end: bigint) => first <= last && end >= value
  return (
    !set.some(({ gateway }) => gateway !== undefined && touches(gateway, gateway)) &&
    !pool.exclude.some(block => block.family === family && touches(block.first, block.last))
  )
}

/** How many leases the set can give: a little more when excluded blocks overlap each other or a gateway. */
export function capacity(pool: Pool, set: Range[]): bigint {
  const step = pool.pair ? 2n : 1n
  let total = 0n
  for (const range of set) {
    total += (range.last - range.first) / step + 1n
    if (set.some(({ gateway }) => gateway !== undefined && gateway >= range.first && gateway <= range.last)) total -= 1n
    for (const block of pool.exclude.filter(({ family }) => family === range.family)) {
      const first = block.first > range.first ? block.first : range.first
      const last = block.last < range.last ? block.last : range.last
      if (last >= first) total -= (last - first) / step + 1n
    }
  }
  return total
}
