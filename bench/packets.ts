/** Small packets: datagrams of 64 bytes, and one byte there and back. */
import { spawn } from 'node:child_process'
import { compare, interleave, type Label, type Row, type Target } from './measure.ts'
import { type Path, type Paths, withPaths } from './paths.ts'
import { exec, program, type RoundTrips, roundTripServer, roundTrips, serve, toNode } from './traffic.ts'

/** One link by each way. */
async function three(paths: Paths) {
  const kernel = (await paths.tunlink(1)).paths[0]!
  const thread = (await paths.tunlink(1, { wire: 'thread' })).paths[0]!
  return { kernel, thread, veth: paths.ptp(1)[0]! }
}

interface Blast {
  /** Thousands a second. */
  received: number
  /** Per cent of what was sent. */
  lost: number
}

const UDP_PORT = '7001'
const UDP_SECONDS = '1'

export const udp = (rounds: number): Promise<Row[]> =>
  withPaths(async paths => {
    const { kernel, thread, veth } = await three(paths)
    const blast =
      ({ pod, node, nodeAddress }: Path) =>
      async (): Promise<Blast> => {
        const sink = await serve(paths, node, ...program('blast'), 'sink', UDP_PORT, UDP_SECONDS)
        const printed = new Promise<number>(resolve => sink.stdout!.once('data', chunk => resolve(Number(chunk))))
        const sent = Number(await exec(pod, ...program('blast'), 'send', nodeAddress, UDP_PORT, UDP_SECONDS))
        const received = await printed
        return { received: received / 1000, lost: 100 * (1 - received / sent) }
      }
    const found = await interleave<'kernel' | 'thread' | 'veth', Blast>(rounds, {
      kernel: blast(kernel),
      thread: blast(thread),
      veth: blast(veth),
    })
    const received = (samples: Blast[]) => samples.map(({ received }) => received)
    const label: Label = { bench: 'udp', what: 'UDP 64 B, received', unit: 'kpps', peer: 'veth' }
    return [
      compare({ ...label, target: { least: 0.88, goal: 1 } }, received(found.kernel), received(found.veth)),
      compare({ ...label, what: `${label.what}, thread wire` }, received(found.thread), received(found.veth)),
    ]
  })

const RR_SECONDS = 2

export const rr = (rounds: number): Promise<Row[]> =>
  withPaths(async paths => {
    const { kernel, thread, veth } = await three(paths)
    for (const { node } of [kernel, thread, veth]) await roundTripServer(paths, node)
    const sample = (path: Path) => async () => (await roundTrips(toNode(path), RR_SECONDS)).perSecond
    const found = await interleave(rounds, { kernel: sample(kernel), thread: sample(thread), veth: sample(veth) })
    const label: Label = { bench: 'rr', what: 'TCP_RR, pod to node', unit: 'per s', peer: 'veth' }
    return [
      compare({ ...label, target: { least: 0.9, goal: 1 } }, found.kernel, found.veth),
      compare({ ...label, what: `${label.what}, thread wire` }, found.thread, found.veth),
    ]
  })

const HOG_SECONDS = 3 // enough for a 99th percentile of what is slow

/** Round trips beside two programs that never sleep. */
export const hogs = (rounds: number): Promise<Row[]> =>
  withPaths(async paths => {
    const { kernel, thread, veth } = await three(paths)
    for (const { node } of [kernel, thread, veth]) await roundTripServer(paths, node)
    const sample = (path: Path) => () => roundTrips(toNode(path), HOG_SECONDS)
    const busy = [1, 2].map(() => spawn('sh', ['-c', 'while :; do :; done']))
    try {
      const found = await interleave<'kernel' | 'thread' | 'veth', RoundTrips>(rounds, {
        kernel: sample(kernel),
        thread: sample(thread),
        veth: sample(veth),
      })
      const p99 = (samples: RoundTrips[]) => samples.map(({ p99 }) => p99)
      const target: Target = { most: 1.2, goal: 1 }
      const label: Label = { bench: 'hogs', what: 'TCP_RR p99 beside two CPU hogs', unit: 'us', peer: 'veth' }
      return [
        compare({ ...label, target }, p99(found.kernel), p99(found.veth)),
        compare({ ...label, what: `${label.what}, thread wire` }, p99(found.thread), p99(found.veth)),
      ]
    } finally {
      for (const hog of busy) hog.kill('SIGKILL')
    }
  })
