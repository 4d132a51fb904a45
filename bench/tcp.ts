/** What TCP gets through a link to the node, and through many at once; what a GB costs. */
import { compare, interleave, type Label, type Row, type Target } from './measure.ts'
import { type Path, withPaths } from './paths.ts'
import { type Carried, carried, iperfServers, stream, toNode } from './traffic.ts'

const SHAPES: { what: string; options: string[] }[] = [
  { what: 'TCP 1 stream, pod to node', options: [] },
  { what: 'TCP 1 stream, node to pod', options: ['-R'] },
  { what: 'TCP 4 streams, pod to node', options: ['-P', '4'] },
]
/** Of one stream, one second differs much from the next: see docs/performance.md. */
const MORE = 2
const TARGET: Target = { least: 0.92, goal: 1 }
const CPU_TARGET: Target = { most: 1.1, goal: 1 }

export const tcp = (rounds: number): Promise<Row[]> =>
  withPaths(async paths => {
    const [kernel, thread, veth] = [
      (await paths.tunlink(1)).paths[0]!,
      (await paths.tunlink(1, { wire: 'thread' })).paths[0]!,
      paths.ptp(1)[0]!,
    ]
    for (const { node } of [kernel, thread, veth]) await iperfServers(paths, node)
    const [speed, cost]: Row[][] = [[], []]
    for (const { what, options } of SHAPES) {
      const sample = (path: Path) => () => carried(toNode(path), ...options)
      const found = await interleave<'kernel' | 'thread' | 'veth', Carried>(options.includes('-P') ? rounds : MORE * rounds, {
        kernel: sample(kernel),
        thread: sample(thread),
        veth: sample(veth),
      })
      const gigabits = (samples: Carried[]) => samples.map(({ gigabits }) => gigabits)
      const perGB = (samples: Carried[]) => samples.map(({ cpuPerGB }) => cpuPerGB)
      const label: Label = { bench: 'tcp', what, unit: 'Gbit/s', peer: 'veth' }
      const cpu: Label = { ...label, what: `CPU of ${what}`, unit: 's/GB' }
      speed!.push(
        compare({ ...label, target: TARGET }, gigabits(found.kernel), gigabits(found.veth)),
        compare({ ...label, what: `${what}, thread wire` }, gigabits(found.thread), gigabits(found.veth)),
      )
      cost!.push(compare({ ...cpu, target: CPU_TARGET }, perGB(found.kernel), perGB(found.veth)))
    }
    return [...speed!, ...cost!]
  })

const MANY = 50
const MANY_ROUNDS = 5
const MANY_SECONDS = 2

/** Many busy links at once: the sum of what they carry. */
export const many = (rounds: number): Promise<Row[]> =>
  withPaths(async paths => {
    const kernel = (await paths.tunlink(MANY)).paths
    const thread = (await paths.tunlink(10, { wire: 'thread' })).paths
    const veth = paths.ptp(MANY)
    for (const { length, 0: first } of [kernel, thread, veth]) await iperfServers(paths, first!.node, length)
    const sum = (used: Path[]) => async () => {
      const started = performance.now()
      const streams = await Promise.all(used.map((path, index) => stream(toNode(path), MANY_SECONDS, index)))
      const bytes = streams.reduce((total, stream) => total + stream.bytes, 0)
      // by the clock: with few CPUs they do not all run in the same seconds
      return (bytes * 8) / 1e6 / (performance.now() - started)
    }
    const found = await interleave(Math.min(rounds, MANY_ROUNDS), {
      ten: sum(kernel.slice(0, 10)),
      tenByThread: sum(thread),
      tenByVeth: sum(veth.slice(0, 10)),
      fifty: sum(kernel),
      fiftyByVeth: sum(veth),
    })
    const label = (what: string, target?: Target): Label => ({
      bench: 'many',
      what: `${what}, one TCP stream each, sum`,
      unit: 'Gbit/s',
      peer: 'veth',
      ...(target && { target }),
    })
    const target: Target = { least: 0.9, goal: 1 }
    return [
      compare(label('ten pods', target), found.ten, found.tenByVeth),
      compare(label('ten pods, thread wire'), found.tenByThread, found.tenByVeth),
      compare(label('50 pods', target), found.fifty, found.fiftyByVeth),
    ]
  })
