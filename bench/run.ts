/**
 * `npm run bench [add] [tcp]`: side by side with the reference, interleaved (A B A B ...), medians and ratios. Root; namespaces of its own.
 *
 *   add   ADD and DEL against `ptp` with `host-local`: whole processes, one by one
 *   tcp   one TCP stream of iperf3 in both directions against a veth pair
 */
import { execFileSync, spawn } from 'node:child_process'
import { loadavg } from 'node:os'
import { ip, Lab } from '../test/support.ts'

const ROUNDS = Number(process.env.ROUNDS ?? 21)
const median = (values: number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!
const timed = (body: () => void): number => {
  const started = process.hrtime.bigint()
  body()
  return Number(process.hrtime.bigint() - started) / 1e6
}
const report = (what: string, unit: string, ours: number[], theirs: number[], peer: string) =>
  console.log(
    `${what.padEnd(24)} ${median(ours).toFixed(1).padStart(7)} ${unit}   ${peer} ${median(theirs).toFixed(1).padStart(7)} ${unit}   ratio ${median(ours.map((value, round) => value / theirs[round]!)).toFixed(2)}`,
  )

function add(lab: Lab): void {
  const peer = {
    cniVersion: '1.0.0',
    name: 'peer',
    type: 'ptp',
    ipam: { type: 'host-local', dataDir: `${lab.dataDir}/host-local`, subnet: '10.77.0.0/16', routes: [{ dst: '0.0.0.0/0' }] },
  }
  const variants: Record<string, object> = { 'host, agent warm': {}, attach: { name: 'attached', farEnd: 'attach', owner: 1000 } }
  const warm = lab.netns()
  lab.must('ADD', warm)
  for (const [variant, conf] of Object.entries(variants)) {
    const times = { ours: [] as number[], theirs: [] as number[], oursDel: [] as number[], theirsDel: [] as number[] }
    for (let round = 0; round < ROUNDS; round++) {
      const [one, two] = [lab.netns(), lab.netns()]
      times.ours.push(timed(() => lab.must('ADD', one, conf)))
      times.theirs.push(timed(() => lab.with('/usr/lib/cni/ptp', () => lab.must('ADD', two, peer))))
      times.oursDel.push(timed(() => lab.must('DEL', one, conf)))
      times.theirsDel.push(timed(() => lab.with('/usr/lib/cni/ptp', () => lab.must('DEL', two, peer))))
    }
    report(`ADD ${variant}`, 'ms', times.ours, times.theirs, 'ptp+host-local')
    report(`DEL ${variant}`, 'ms', times.oursDel, times.theirsDel, 'ptp+host-local')
  }
}

/** Gbit/s received of one stream of a second. */
function iperf(netns: string, address: string, ...more: string[]): number {
  const output = execFileSync('ip', ['netns', 'exec', netns, 'iperf3', '-c', address, '-t', '1', '-J', ...more], { encoding: 'utf8' })
  return JSON.parse(output).end.sum_received.bits_per_second / 1e9
}

async function tcp(lab: Lab): Promise<void> {
  const [pod, veth] = [lab.netns(), lab.netns()]
  lab.must('ADD', pod)
  for (const command of [`link add vb type veth peer name eth0 netns ${veth}`, 'addr add 10.78.0.1/24 dev vb', 'link set vb up'])
    ip(lab.node, ...command.split(' '))
  for (const command of ['addr add 10.78.0.2/24 dev eth0', 'link set eth0 up']) ip(veth, ...command.split(' '))
  const server = spawn('ip', ['netns', 'exec', lab.node, 'iperf3', '-s'], { stdio: 'ignore' })
  await new Promise(resolve => setTimeout(resolve, 500))
  for (const [direction, ...options] of [['pod to node'], ['node to pod', '-R']]) {
    const [ours, theirs]: [number[], number[]] = [[], []]
    for (let round = 0; round < Math.min(ROUNDS, 9); round++) {
      ours.push(iperf(pod, '10.66.0.1', ...options))
      theirs.push(iperf(veth, '10.78.0.1', ...options))
    }
    report(`TCP ${direction}`, 'Gbit/s', ours, theirs, 'veth')
  }
  server.kill()
}

const wanted = process.argv.slice(2)
const lab = new Lab()
try {
  console.log(
    `${execFileSync('uname', ['-sr'], { encoding: 'utf8' }).trim()}, ${execFileSync('nproc', { encoding: 'utf8' }).trim()} CPUs; medians of ${ROUNDS} interleaved rounds; each time includes starting a process by ip(8)`,
  )
  if (loadavg()[0]! > 1) console.log(`The machine is busy (load ${loadavg()[0]!.toFixed(1)}): read ratios only`)
  if (wanted.length === 0 || wanted.includes('add')) add(lab)
  if (wanted.length === 0 || wanted.includes('tcp')) await tcp(lab)
} finally {
  lab.close()
}
