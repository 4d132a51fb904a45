/**
 * `npm run bench [PART...]`: side by side with the peers, in namespaces of its own; root. ROUNDS
 * (default 9) samples of each. Prints a line for each row, and writes bench/results.json,
 * docs/bench-*.svg and the table of docs/performance.md: a run of parts replaces their rows.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { idle, loss } from './agent.ts'
import { integrity } from './integrity.ts'
import { calm, isNoisy, machine, type Noise } from './machine.ts'
import { line, type Row } from './measure.ts'
import { hogs, rr, udp } from './packets.ts'
import { plot } from './plot.ts'
import { podToPod } from './pods.ts'
import { insert, table } from './table.ts'
import { many, tcp } from './tcp.ts'
import { addAndDel, burst, dualStack, scale } from './verbs.ts'

type Bench = (rounds: number) => Promise<Row[]>
type PartRow = Row & { part: string }

const RESULTS = join(import.meta.dirname, 'results.json')

const PARTS: Record<string, Bench> = {
  tcp,
  many,
  udp,
  rr,
  hogs,
  pods: podToPod,
  loss,
  add: addAndDel,
  dualstack: dualStack,
  burst,
  scale,
  idle,
}
/** Takes minutes, and has no figure that is compared. */
const ON_REQUEST: Record<string, Bench> = { integrity }

// which closes what a part has made
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(1))

const rounds = Number(process.env.ROUNDS ?? 9)
const wanted = process.argv.slice(2)
const known = { ...PARTS, ...ON_REQUEST }
const unknown = wanted.find(name => !(name in known))
if (unknown !== undefined) throw new Error(`No part "${unknown}": there are ${Object.keys(known).join(', ')}`)

const about = machine()
console.log(`${about.kernel}, ${about.cpus} CPUs (${about.cpu}); medians of interleaved rounds, ratios of the same round`)
const found: PartRow[] = []
const noisy: string[] = []
const failed: string[] = []
let worst: Noise = { busy: 0, steal: 0, load: 0 }
for (const name of wanted.length > 0 ? wanted : Object.keys(PARTS)) await run(name)
if (noisy.length > 0) console.log(`The machine was noisy before ${noisy.join(', ')}: these figures say little`)
if (failed.length > 0) console.log(`FAILED: ${failed.join(', ')}`)
if (failed.length === 0) write()
process.exit(failed.length > 0 ? 1 : 0)

/** One part: what goes wrong in it does not end the others. */
async function run(name: string): Promise<void> {
  const before = await calm()
  if (before.busy > worst.busy) worst = before
  if (isNoisy(before)) {
    noisy.push(name)
    console.log(`NOISY: ${percent(before.busy)} of the CPUs used, ${percent(before.steal)} stolen, before "${name}" began`)
  }
  const started = performance.now()
  try {
    const rows = await known[name]!(rounds)
    for (const row of rows) console.log(line(row))
    found.push(...rows.map(row => ({ part: name, ...row })))
  } catch (error) {
    failed.push(name)
    console.log(`FAILED "${name}":`, error)
  }
  console.log(`  (${name}: ${((performance.now() - started) / 1000).toFixed(0)} s)`)
}

function write(): void {
  const docs = join(import.meta.dirname, '../docs')
  const { results, noisy } = merged()
  const summary = { machine: about, noise: worst, noisy, rounds, results }
  writeFileSync(RESULTS, `${JSON.stringify(summary, null, 2)}\n`)
  const compared = results.filter(({ ratio }) => ratio !== undefined)
  const of = (...benches: string[]) => compared.filter(({ bench }) => benches.includes(bench))
  const verbs = of('add', 'del', 'dualstack', 'burst', 'scale')
  const carried = of('tcp', 'many', 'udp', 'rr', 'pods').filter(({ unit }) => unit !== 's/GB')
  writeFileSync(join(docs, 'bench-verbs.svg'), plot('Time of a CNI call, ratio', 'lower', verbs))
  writeFileSync(join(docs, 'bench-datapath.svg'), plot('What a link carries, ratio', 'higher', carried))
  const page = join(docs, 'performance.md')
  const { kernel, cpus, cpu, date } = about
  const was = noisy.length > 0 ? `noisy before ${noisy.join(', ')}` : 'calm'
  const where = `${date}, ${kernel}, ${cpus} CPUs (${cpu}).\nThe machine was ${was}; ${rounds} rounds, fewer of what is slow.`
  writeFileSync(page, insert(readFileSync(page, 'utf8'), `${where}\n\n${table(results)}`))
}

/** This run, or where it was of some parts, the last one with these parts replaced. */
function merged(): { results: PartRow[]; noisy: string[] } {
  if (wanted.length === 0) return { results: found, noisy }
  const before = JSON.parse(readFileSync(RESULTS, 'utf8'))
  if (before.machine.kernel !== about.kernel || before.machine.cpu !== about.cpu)
    throw new Error('bench/results.json is of another machine: run all parts')
  const rows: PartRow[] = [...before.results.filter((row: PartRow) => !wanted.includes(row.part)), ...found]
  return {
    results: Object.keys(PARTS).flatMap(name => rows.filter(({ part }) => part === name)),
    noisy: [...before.noisy.filter((name: string) => !wanted.includes(name)), ...noisy],
  }
}

function percent(share: number): string {
  return `${(share * 100).toFixed(0)} %`
}
