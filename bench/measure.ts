/** Rows of results: interleaved samples, medians, ratios. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { cpus, loadavg } from 'node:os'

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
  /** What the ratio (or, without a peer, the figure) is to reach: at least, or at most. */
  target?: { least?: number; most?: number }
}

export const median = (values: number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!
export const percentile = (values: number[], share: number) => values.toSorted((a, b) => a - b)[Math.floor(share * (values.length - 1))]!

/**
 * Runs the variants one after the other, round after round (A B A B ...), so that whatever else the machine does hits all of them; every
 * other round backwards. Samples by variant, one a round.
 */
export async function interleave<K extends string>(
  rounds: number,
  variants: Record<K, (round: number) => number | Promise<number>>,
): Promise<Record<K, number[]>> {
  const names = Object.keys(variants) as K[]
  const samples = Object.fromEntries(names.map(name => [name, [] as number[]])) as Record<K, number[]>
  for (let round = 0; round < rounds; round++) {
    for (const name of round % 2 === 0 ? names : names.toReversed()) samples[name].push(await variants[name](round))
  }
  return samples
}

/** One row: ours against the peer's samples of the same rounds. */
export function compare(row: Pick<Row, 'bench' | 'what' | 'unit' | 'peer' | 'target'>, ours: number[], theirs: number[]): Row {
  return {
    ...row,
    ours: median(ours),
    theirs: median(theirs),
    ratio: median(ours.map((value, round) => value / theirs[round]!)),
    n: ours.length,
  }
}

export function print({ what, unit, ours, theirs, peer, ratio, target, n }: Row): void {
  const figure = (value: number) => (value >= 100 ? value.toFixed(0) : value.toFixed(1))
  const against = theirs === undefined ? '' : `${peer} ${figure(theirs)} ${unit}, ratio ${ratio!.toFixed(2)}`
  console.log(
    `${what.padEnd(46)} ${figure(ours).padStart(8)} ${unit.padEnd(7)} ${against.padEnd(46)} ${verdict(ratio ?? ours, target)} (n=${n})`,
  )
}

function verdict(value: number, target: Row['target']): string {
  if (target === undefined) return ''
  const { least, most } = target
  const met = (least === undefined || value >= least) && (most === undefined || value <= most)
  return `${met ? 'meets' : 'MISSES'} ${least === undefined ? `<= ${most}` : `>= ${least}`}`
}

export const machine = () => ({
  kernel: execFileSync('uname', ['-sr'], { encoding: 'utf8' }).trim(),
  cpu: cpus()[0]!.model,
  cpus: cpus().length,
  date: new Date().toISOString().slice(0, 10),
})

/** Share of the CPUs' time that was used, by whomever, or stolen by the hypervisor, while nothing was measured; the load average. */
export async function noise(): Promise<{ busy: number; steal: number; load: number }> {
  const sample = () => readFileSync('/proc/stat', 'utf8').split('\n')[0]!.split(/\s+/).slice(1, 9).map(Number)
  const before = sample()
  await new Promise(resolve => setTimeout(resolve, 1000))
  const spent = sample().map((value, index) => value - before[index]!)
  const total = spent.reduce((sum, value) => sum + value, 0)
  return { busy: 1 - (spent[3]! + spent[4]!) / total, steal: spent[7]! / total, load: loadavg()[0]! }
}
