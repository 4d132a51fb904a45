/**
 * `npm run bench [NAME...]`: side by side with the peers, in namespaces of its own; root. ROUNDS (default 11) samples of each.
 * Prints a table and writes bench/results.json; a run of everything also draws docs/*.svg.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import * as datapath from './datapath.ts'
import { machine, noise, print, type Row } from './measure.ts'
import { plot } from './plot.ts'
import * as verbs from './verbs.ts'

const BENCHES: Record<string, (rounds: number) => Promise<Row[]>> = {
  add: verbs.addAndDel, // and DEL of the same links
  dualstack: verbs.dualStack,
  burst: verbs.burst,
  scale: verbs.scale,
  tcp: datapath.tcp,
  many: datapath.many,
  udp: datapath.udp,
  rr: datapath.rr,
  fairness: datapath.fairness,
  idle: datapath.idle,
  upgrade: datapath.upgrade,
  integrity: datapath.integrity,
}
const NAMES: Record<string, string> = { del: 'add' }

/** Waits until the machine is calm, a minute at most: the kernel may still be taking down what the bench before has made. */
async function calm(): Promise<Awaited<ReturnType<typeof noise>>> {
  for (let tries = 0; ; tries++) {
    const found = await noise()
    if (!isNoisy(found) || tries === 60) return found
  }
}

const isNoisy = ({ busy, steal }: { busy: number; steal: number }) => busy > 0.1 || steal > 0.02

const rounds = Number(process.env.ROUNDS ?? 11)
const wanted = [...new Set(process.argv.slice(2).map(name => NAMES[name] ?? name))]
const unknown = wanted.find(name => !(name in BENCHES))
if (unknown !== undefined) throw new Error(`No bench "${unknown}": there are ${Object.keys(BENCHES).join(', ')}`)

const about = machine()
console.log(`${about.kernel}, ${about.cpus} CPUs (${about.cpu}); medians of interleaved rounds, ratios of the same round`)
const results: Row[] = []
let worst = { busy: 0, steal: 0, load: 0 }
for (const [name, bench] of Object.entries(BENCHES)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue
  const before = await calm()
  if (before.busy > worst.busy) worst = before
  if (isNoisy(before))
    console.log(
      `NOISY: ${(before.busy * 100).toFixed(0)} % of the CPUs busy, ${(before.steal * 100).toFixed(0)} % stolen, before "${name}" began`,
    )
  const rows = await bench(rounds)
  for (const row of rows) print(row)
  results.push(...rows)
}
writeFileSync(join(import.meta.dirname, 'results.json'), `${JSON.stringify({ machine: about, noise: worst, rounds, results }, null, 2)}\n`)

if (wanted.length === 0) {
  const docs = join(import.meta.dirname, '../docs')
  mkdirSync(docs, { recursive: true })
  const rowsOf = (...benches: string[]) => results.filter(({ bench, ratio }) => benches.includes(bench) && ratio !== undefined)
  writeFileSync(
    join(docs, 'bench-verbs.svg'),
    plot('Time of a CNI call, ratio', 'lower', rowsOf('add', 'del', 'dualstack', 'burst', 'scale')),
  )
  const carried = rowsOf('tcp', 'many', 'udp', 'rr').filter(
    ({ unit, peer }) => ['Gbit/s', 'kpps', 'per s'].includes(unit) && (peer === 'veth' || peer === 'one pod'),
  )
  writeFileSync(join(docs, 'bench-datapath.svg'), plot('What a link carries, ratio', 'higher', carried))
}
process.exit()
