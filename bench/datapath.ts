/** What a link carries, against veth and against the user-mode networks. */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { eventually } from '../test/support.ts'
import { compare, interleave, median, percentile, type Row } from './measure.ts'
import { type Path, Paths } from './paths.ts'

const SECONDS = '1'
const program = (name: string) => [process.execPath, join(import.meta.dirname, `${name}.ts`)]

async function withPaths<T>(body: (paths: Paths) => Promise<T>): Promise<T> {
  const paths = new Paths()
  try {
    return await body(paths)
  } finally {
    paths.close()
  }
}

const exec = ({ pod }: Path, ...command: string[]) =>
  new Promise<string>((done, fail) => {
    const child = spawn('ip', ['netns', 'exec', pod, ...command], { stdio: ['ignore', 'pipe', 'inherit'] })
    let text = ''
    child.stdout.on('data', chunk => (text += chunk))
    child.on('close', status => (status === 0 ? done(text) : fail(new Error(`${command.join(' ')}: ${text}`))))
  })

/** Waits for the line that says that it listens. */
async function serve(paths: Paths, netns: string, ...command: string[]) {
  const child = paths.start(netns, ...command)
  await new Promise(resolve => child.stderr!.once('data', resolve))
  return child
}

async function iperfServer(paths: Paths, node: string, port = 5201): Promise<void> {
  paths.start(node, 'iperf3', '-s', '-p', String(port))
  await eventually('iperf3 listens', () => spawnSync('ip', ['netns', 'exec', node, 'ss', '-Hltn', `sport = :${port}`]).stdout.length > 0)
}

/** Gbit/s received. */
const iperf = async (path: Path, ...options: string[]) => (await received(path, SECONDS, ...options)).bits_per_second / 1e9

async function received(path: Path, seconds: string, ...options: string[]): Promise<{ bits_per_second: number; bytes: number }> {
  return JSON.parse(await exec(path, 'iperf3', '-c', path.address, '-t', seconds, '-C', 'cubic', '-J', ...options)).end.sum_received
}

export const tcp = (rounds: number): Promise<Row[]> =>
  withPaths(async paths => {
    const peers = [paths.veth()[0]!, await paths.slirp(), await paths.pasta()]
    const [ours] = (await paths.tunlink(1)).paths
    for (const { node } of [ours!, ...peers]) await iperfServer(paths, node)
    const rows: Row[] = []
    const measure = async (what: string, peer: Path, least: number, ...options: string[]) => {
      const samples = await interleave(rounds, { ours: () => iperf(ours!, ...options), theirs: () => iperf(peer, ...options) })
      rows.push(compare({ bench: 'tcp', what, unit: 'Gbit/s', peer: peer.name, target: { least } }, samples.ours, samples.theirs))
    }
    const [veth, slirp, pasta] = peers
    await measure('TCP 1 stream, pod to node', veth!, 0.9)
    await measure('TCP 1 stream, node to pod', veth!, 0.9, '-R')
    await measure('TCP 4 streams, pod to node', veth!, 0.7, '-P', '4')
    await measure('TCP 1 stream, pod to node', slirp!, 4)
    await measure('TCP 1 stream, node to pod', slirp!, 4, '-R')
    await measure('TCP 1 stream, pod to node', pasta!, 2)
    await measure('TCP 1 stream, node to pod', pasta!, 2, '-R')
    return rows
  })

/** Many busy links at once: the sum of what they carry. */
export const many = (rounds: number): Promise<Row[]> =>
  withPaths(async paths => {
    const { paths: ours } = await paths.tunlink(50)
    const veths = paths.veth(50)
    for (const path of [ours[0]!, veths[0]!]) for (let port = 5201; port < 5251; port++) await iperfServer(paths, path.node, port)
    const sum = async (used: Path[]) => {
      const started = performance.now()
      const streams = await Promise.all(used.map((path, index) => received(path, '3', '-p', String(5201 + index))))
      const bytes = streams.reduce((total, stream) => total + stream.bytes, 0)
      return (bytes * 8) / 1e6 / (performance.now() - started) // by the clock: with few CPUs they do not all run in the same seconds
    }
    const samples = await interleave(Math.min(rounds, 5), {
      one: () => sum(ours.slice(0, 1)),
      ten: () => sum(ours.slice(0, 10)),
      fifty: () => sum(ours),
      veth: () => sum(veths.slice(0, 10)),
      vethOne: () => sum(veths.slice(0, 1)),
      vethFifty: () => sum(veths),
    })
    const row = (what: string, peer: string, target?: Row['target']) => ({
      bench: 'many',
      what,
      unit: 'Gbit/s',
      peer,
      ...(target && { target }),
    })
    return [
      compare(row('ten pods, one TCP stream each, sum', 'veth', { least: 0.4 }), samples.ten, samples.veth),
      compare(row('50 pods, one TCP stream each, sum', 'one pod', { least: 0.9 }), samples.fifty, samples.one),
      compare(row('50 pods by veth, one TCP stream each, sum', 'one by veth'), samples.vethFifty, samples.vethOne),
    ]
  })

export const udp = (rounds: number): Promise<Row[]> =>
  withPaths(async paths => {
    const [[ours], [veth]] = [(await paths.tunlink(1)).paths, paths.veth()]
    const blast = async (path: Path) => {
      const sink = await serve(paths, path.node, ...program('blast'), 'sink', '7001', SECONDS)
      const received = new Promise<string>(resolve => sink.stdout!.once('data', chunk => resolve(String(chunk))))
      const sent = Number(await exec(path, ...program('blast'), 'send', path.address, '7001', SECONDS))
      return { received: Number(await received) / 1000, lost: 1 - Number(await received) / sent }
    }
    const lost = { ours: [] as number[], theirs: [] as number[] }
    const sample = (path: Path, losses: number[]) => async () => {
      const { received, lost } = await blast(path)
      losses.push(lost * 100)
      return received
    }
    const { ours: own, theirs } = await interleave(rounds, { ours: sample(ours!, lost.ours), theirs: sample(veth!, lost.theirs) })
    return [
      compare({ bench: 'udp', what: 'UDP 64 B, received', unit: 'kpps', peer: 'veth', target: { least: 1 } }, own, theirs),
      {
        bench: 'udp',
        what: 'UDP 64 B, lost of what was sent',
        unit: '%',
        peer: 'veth',
        ours: median(lost.ours),
        theirs: median(lost.theirs),
        ratio: median(lost.ours) / Math.max(1e-9, median(lost.theirs)),
        n: rounds,
      },
    ]
  })

interface RoundTrips {
  perSecond: number
  p99: number
}

/** One byte there and back, alone and beside two programs that never sleep. */
export const rr = (rounds: number): Promise<Row[]> =>
  withPaths(async paths => {
    const [[ours], [spin], [veth]] = [(await paths.tunlink(1)).paths, (await paths.tunlink(1, '--spin', '50')).paths, paths.veth()]
    for (const { node } of [ours!, spin!, veth!]) await serve(paths, node, ...program('rr'), 'serve', '7000')
    const ask = async (path: Path): Promise<RoundTrips> => JSON.parse(await exec(path, ...program('rr'), 'ask', path.address, '7000', '3')) // enough for a 99th percentile
    const p99 = { calm: [] as number[], hogs: [] as number[] }
    const samples = await interleave(rounds, {
      ours: async () => {
        const { perSecond, p99: calm } = await ask(ours!)
        p99.calm.push(calm)
        return perSecond
      },
      spin: async () => (await ask(spin!)).perSecond,
      veth: async () => (await ask(veth!)).perSecond,
      hogs: async () => {
        const hogs = [1, 2].map(() => spawn('sh', ['-c', 'while :; do :; done']))
        const { p99: starved } = await ask(ours!)
        for (const hog of hogs) hog.kill('SIGKILL')
        p99.hogs.push(starved)
        return starved
      },
    })
    const row = (what: string, unit: string, peer: string, target: Row['target']) => ({ bench: 'rr', what, unit, peer, target })
    return [
      compare(row('TCP_RR', 'per s', 'veth', { least: 0.83 }), samples.ours, samples.veth),
      compare(row('TCP_RR, agent --spin 50', 'per s', 'veth', { least: 1.3 }), samples.spin, samples.veth),
      compare(row('TCP_RR p99 beside two CPU hogs', 'us', 'without', { most: 3 }), p99.hogs, p99.calm),
    ]
  })

/** The 99th percentile of a ping over an idle link, in microseconds, while another link is saturated and while none is. */
export const fairness = (rounds: number): Promise<Row[]> =>
  withPaths(async paths => {
    const [busy, idle] = (await paths.tunlink(50)).paths
    await iperfServer(paths, busy!.node)
    const ping = async () => {
      const lines = await exec(idle!, 'ping', '-i', '0.005', '-c', '200', idle!.address)
      return percentile(
        [...lines.matchAll(/time=([\d.]+)/g)].map(match => Number(match[1]) * 1000),
        0.99,
      )
    }
    const samples = await interleave(rounds, {
      saturated: async () => {
        const stream = exec(busy!, 'iperf3', '-c', busy!.address, '-t', '2')
        await new Promise(resolve => setTimeout(resolve, 300))
        const p99 = await ping()
        await stream
        return p99
      },
      calm: ping,
    })
    const row = {
      bench: 'fairness',
      what: 'ping p99, another of 50 links saturated',
      unit: 'us',
      peer: 'none saturated',
      target: { most: 4 },
    }
    return [compare(row, samples.saturated, samples.calm)]
  })

/** 250 links at rest: how often the agent's threads wake, and what memory it takes, before and after each link has carried traffic. */
export const idle = (): Promise<Row[]> =>
  withPaths(async paths => {
    const { lab, paths: links } = await paths.tunlink(250)
    for (const { pod, address } of links) spawnSync('ip', ['netns', 'exec', pod, 'ping', '-c', '1', address])
    await new Promise(resolve => setTimeout(resolve, 15_000)) // memory of links at rest has been given back
    const agent = lab.agentPid()!
    const wakeUpsOf = (task: string) =>
      Number(readFileSync(`/proc/${agent}/task/${task}/status`, 'utf8').match(/^voluntary_ctxt_switches:\s+(\d+)/m)![1])
    const threads = readdirSync(`/proc/${agent}/task`)
    const wakeUps = () => threads.filter(task => existsSync(`/proc/${agent}/task/${task}`)).map(task => [task, wakeUpsOf(task)] as const)
    const cpu = () =>
      readFileSync(`/proc/${agent}/stat`, 'utf8')
        .split(' ')
        .slice(13, 15)
        .map(Number)
        .reduce((sum, ticks) => sum + ticks)
    const before = { wakeUps: new Map(wakeUps()), cpu: cpu() }
    await new Promise(resolve => setTimeout(resolve, 10_000))
    const row = (what: string, unit: string, ours: number, most?: number): Row => ({
      bench: 'idle',
      what,
      unit,
      ours,
      n: 1,
      ...(most === undefined ? {} : { target: { most } }),
    })
    const memory = Number(readFileSync(`/proc/${agent}/status`, 'utf8').match(/VmRSS:\s+(\d+)/)![1]) / 1024
    return [
      row(
        'agent with 250 idle links: wake-ups',
        '/s',
        wakeUps().reduce((sum, [task, count]) => sum + count - before.wakeUps.get(task)!, 0) / 10,
        1,
      ),
      row('agent with 250 idle links: CPU', '% of 1', cpu() - before.cpu),
      row('agent with 250 idle links: memory', 'MB', memory, 60 + (250 * 64) / 1024),
    ]
  })

/** Pings lost, of 1,000 a second, while the agent is replaced. */
export const upgrade = (): Promise<Row[]> =>
  withPaths(async paths => {
    const { lab, paths: links } = await paths.tunlink(10)
    const pinging = exec(links[0]!, 'ping', '-q', '-i', '0.001', '-c', '3000', links[0]!.address)
    await new Promise(resolve => setTimeout(resolve, 1000))
    paths.start(lab.node, lab.executable, 'agent', '--data-dir', lab.dataDir, '--replace')
    const [, sent, received] = (await pinging).match(/(\d+) packets transmitted, (\d+) received/)!
    return [
      {
        bench: 'upgrade',
        what: 'pings lost of 3000 at 1,000/s, agent replaced',
        unit: '',
        ours: Number(sent) - Number(received),
        n: 1,
        target: { most: 0 },
      },
    ]
  })

/** 10 GiB over TCP in both directions at once, by SHA-256, and every size of datagram, by io_uring and by epoll. Throws when anything differs. */
export const integrity = (): Promise<Row[]> =>
  withPaths(async paths => {
    const rows: Row[] = []
    for (const mode of ['io_uring', 'epoll']) {
      const [one, two] = (await paths.tunlink(2, '--wire', mode)).paths as [Path, Path]
      const started = performance.now()
      await Promise.all([transfer(paths, one, two), transfer(paths, two, one)])
      const gigabits = (2 * TRANSFER * 8) / 1e6 / (performance.now() - started)
      rows.push({ bench: 'integrity', what: `2 x 10 GiB with SHA-256, ${mode}`, unit: 'Gbit/s', ours: gigabits, n: 1 })
      await listens(paths, one.node, 'datagrams', 'echo', '5000')
      const { sent, received, duplicates, reordered, damaged } = JSON.parse(
        await exec(one, process.execPath, test('datagrams'), 'ask', one.address, '5000', '1472'),
      )
      if (duplicates + reordered + damaged > 0)
        throw new Error(`${mode}: ${duplicates} twice, ${reordered} out of order, ${damaged} damaged`)
      rows.push({
        bench: 'integrity',
        what: `datagrams of 1 to 1472 bytes lost, ${mode}`,
        unit: '',
        ours: sent - received,
        n: 1,
        target: { most: 0 },
      })
    }
    return rows
  })

const TRANSFER = 10 * 2 ** 30
const test = (name: string) => join(import.meta.dirname, `../test/${name}.ts`)

/** Starts a program of the tests and waits for its first line, which says that it listens. */
async function listens(paths: Paths, netns: string, name: string, ...args: string[]) {
  const child = paths.start(netns, process.execPath, test(name), ...args)
  await new Promise(resolve => child.stdout!.once('data', resolve))
  return child
}

async function transfer(paths: Paths, from: Path, to: Path): Promise<void> {
  const address = spawnSync('ip', ['-n', to.pod, '-4', '-j', 'address', 'show', 'dev', 'eth0'], { encoding: 'utf8' }).stdout
  const child = await listens(paths, to.pod, 'transfer', 'receive', '5001')
  const received = new Promise<string>(resolve => child.stdout!.once('data', chunk => resolve(String(chunk))))
  const sent = await exec(
    from,
    process.execPath,
    test('transfer'),
    'send',
    JSON.parse(address)[0].addr_info[0].local,
    '5001',
    String(TRANSFER),
  )
  if (sent !== (await received)) throw new Error(`sent ${sent}, received ${await received}`)
}
