/**
 * Rows of results: interleaved samples, medians, ratios of the same round, and what they are to
 * reach.
 */

/** What a figure is to be, at least or at most, and what it is hoped to be. */
export interface Target {
  least?: number
  most?: number
  /** Better than `least` or `most`, on the same side of it. */
  goal?: number
}

export interface Row {
  bench: string
  what: string
  unit: string
  ours: number
  theirs?: number
  peer?: string
  /** Median of the rounds' ratios, ours / theirs. */
  ratio?: number
  /** Rounds measured. */
  n: number
  /** Of the ratio; without a peer, of the figure. */
  target?: Target
}

export type Label = Pick<Row, 'bench' | 'what' | 'unit' | 'peer' | 'target'>

export const median = (values: number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!
export const percentile = (values: number[], share: number) => values.toSorted((a, b) => a - b)[Math.floor(share * (values.length - 1))]!

/**
 * Runs the variants one after the other, round after round (A B A B ...), so that whatever else the
 * machine does hits all of them; every other round backwards. Samples by variant, one a round.
 */
export async function interleave<K extends string, T = number>(
  rounds: number,
  variants: Record<K, (round: number) => T | Promise<T>>,
): Promise<Record<K, T[]>> {
  const names = Object.keys(variants) as K[]
  const samples = Object.fromEntries(names.map(name => [name, [] as T[]])) as Record<K, T[]>
  for (let round = 0; round < rounds; round++) {
    for (const name of round % 2 === 0 ? names : names.toReversed()) samples[name].push(await variants[name](round))
  }
  return samples
}

/** One row: ours against the peer's samples of the same rounds. */
export const compare = (label: Label, ours: number[], theirs: number[]): Row => ({
  ...label,
  ours: median(ours),
  theirs: median(theirs),
  ratio: median(ours.map((value, round) => value / theirs[round]!)),
  n: ours.length,
})

/** One row without a peer. */
export const figure = (label: Label, ours: number, n = 1): Row => ({ ...label, ours, n })

export type Verdict = 'misses' | 'meets' | 'reaches the goal'

/** Undefined for a row that has no target. */
export function verdict({ ours, ratio, target }: Row): Verdict | undefined {
  if (target === undefined) return undefined
  const { least, most, goal } = target
  const value = ratio ?? ours
  const isWithin = (bound: number | undefined) => bound === undefined || (least === undefined ? value <= bound : value >= bound)
  if (!isWithin(least ?? most)) return 'misses'
  return goal !== undefined && isWithin(goal) ? 'reaches the goal' : 'meets'
}

/** `>= 0.92, goal 1`; empty for a row that has no target. */
export function aim({ target }: Row): string {
  if (target === undefined) return ''
  const { least, most, goal } = target
  const bound = least === undefined ? `<= ${most}` : `>= ${least}`
  return goal === undefined ? bound : `${bound}, goal ${goal}`
}

export const digits = (value: number) =>
  value >= 100 ? value.toFixed(0) : value >= 10 || value === 0 ? value.toFixed(1) : value.toFixed(2)

/** A row as a line of text. */
export function line(row: Row): string {
  const { what, unit, ours, theirs, peer, ratio, n } = row
  const against = theirs === undefined ? '' : `${peer} ${digits(theirs)} ${unit}, ratio ${ratio!.toFixed(2)}`
  const found = verdict(row)
  const judged = found === undefined ? '' : `${found === 'misses' ? 'MISSES' : found} (${aim(row)})`
  return `${what.padEnd(50)} ${digits(ours).padStart(8)} ${unit.padEnd(7)} ${against.padEnd(44)} ${judged} n=${n}`
}
