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
  const blocks = reserved(pool, set[0]!.family)
  /** What keeps an address, or the pair that it begins, from being leased. */
  const obstacle = (value: bigint) => firstBlock(blocks, value, value + step - 1n)
  if (wish !== undefined) {
    const value = pool.pair ? wish - (wish % 2n) : wish
    const range = set.find(range => value >= range.first && value <= range.last)
    if (range !== undefined && obstacle(value) === undefined) yield { value, range }
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
    const block = obstacle(value)
    if (block === undefined) yield { value, range }
    else tried += skippable(block, range, value, step, total - tried)
  }
}

/** Inclusive bounds. */
interface Block {
  first: bigint
  last: bigint
}

/**
 * Addresses that are never leased, in ascending order and apart from each other: excluded ones, and
 * the gateways of every set.
 */
function reserved(pool: Pool, family: Family): Block[] {
  const gateways = pool.sets.flat().filter(range => range.family === family && range.gateway !== undefined)
  const all = [
    ...pool.exclude.filter(block => block.family === family),
    ...gateways.map(({ gateway }) => ({ first: gateway!, last: gateway! })),
  ]
  const merged: Block[] = []
  for (const { first, last } of all.sort((a, b) => (a.first < b.first ? -1 : 1))) {
    const before = merged.at(-1)
    if (before === undefined || first > before.last) merged.push({ first, last })
    else if (last > before.last) before.last = last
  }
  return merged
}

/** The first block that has an address from `first` to `last`. Halves the list at each step. */
function firstBlock(blocks: Block[], first: bigint, last: bigint): Block | undefined {
  let [low, high] = [0, blocks.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (blocks[middle]!.last < first) low = middle + 1
    else high = middle
  }
  const found = blocks[low]
  return found !== undefined && found.first <= last ? found : undefined
}

/**
 * How many more steps a reserved block covers: a large block is passed at once, not address by
 * address.
 */
function skippable(block: Block, range: Range, value: bigint, step: bigint, most: bigint): bigint {
  const end = block.last < range.last ? block.last : range.last
  const steps = (end - value) / step
  return steps < most ? steps : most
}

/** How many leases the set can give. */
export function capacity(pool: Pool, set: Range[]): bigint {
  const step = pool.pair ? 2n : 1n
  const all = reserved(pool, set[0]!.family)
  let total = 0n
  for (const { first, last } of set) {
    total += (last - first) / step + 1n
    const blocks = all.filter(block => block.first <= last && block.last >= first)
    let next = 0n // the first step that no earlier block has covered: two may be in one pair
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
