/** Traffic between two network namespaces, and what of it is measured. */
import { spawn, spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { eventually } from '../test/support.ts'
import { cpuTimes } from './machine.ts'
import type { Path, Paths } from './paths.ts'

/** From a network namespace to an address in another. */
export interface Way {
  from: string
  to: string
  address: string
}

export const toNode = ({ pod, node, nodeAddress }: Path): Way => ({ from: pod, to: node, address: nodeAddress })
export const toPod = (from: Path, to: Path): Way => ({ from: from.pod, to: to.pod, address: to.podAddress })

/** A measuring program of this directory. */
export const program = (name: string) => [process.execPath, join(import.meta.dirname, `${name}.ts`)]

/** Standard output of a command in a network namespace. Rejects when it fails. */
export const exec = (netns: string, ...command: string[]) =>
  new Promise<string>((done, fail) => {
    const child = spawn('ip', ['netns', 'exec', netns, ...command], { stdio: ['ignore', 'pipe', 'inherit'] })
    let text = ''
    child.stdout.on('data', chunk => (text += chunk))
    child.on('error', fail)
    child.on('close', status => (status === 0 ? done(text) : fail(new Error(`${command.join(' ')}: ${text}`))))
  })

/** Starts a server and waits for the line that says that it listens. */
export async function serve(paths: Paths, netns: string, ...command: string[]) {
  const child = paths.start(netns, ...command)
  await new Promise((done, fail) => {
    child.stderr!.once('data', done)
    child.once('close', () => fail(new Error(`${command.join(' ')} ended before it listened`)))
  })
  return child
}

const FIRST_PORT = 5201

/**
 * Starts iperf3 servers in a network namespace, on ports from 5201 on, and waits until all of them
 * listen.
 */
export async function iperfServers(paths: Paths, netns: string, count = 1): Promise<void> {
  for (let port = FIRST_PORT; port < FIRST_PORT + count; port++) paths.start(netns, 'iperf3', '-s', '-p', String(port))
  const listening = () =>
    spawnSync('ip', ['netns', 'exec', netns, 'ss', '-Hltn', `sport >= :${FIRST_PORT}`], { encoding: 'utf8' }).stdout.split('\n').length - 1
  await eventually('iperf3 listens', () => listening() >= count, 30)
}

export interface Stream {
  bytes: number
  seconds: number
}

/** A server that still ends the stream before refuses the next one. */
const TRIES = 5
const RETRY_MS = 200

/** One run of iperf3: what was received. `index` is that of the server. */
export async function stream({ from, address }: Way, seconds: number, index = 0, ...options: string[]): Promise<Stream> {
  const command = ['iperf3', '-c', address, '-p', String(FIRST_PORT + index), '-t', String(seconds), '-C', 'cubic', '-J', ...options]
  for (let tries = 1; ; tries++) {
    try {
      const { sum_received: received } = JSON.parse(await exec(from, ...command)).end
      return { bytes: received.bytes, seconds: received.seconds }
    } catch (error) {
      if (tries === TRIES) throw error
      await new Promise(resolve => setTimeout(resolve, RETRY_MS))
    }
  }
}

export interface Carried {
  gigabits: number
  /** Seconds of all CPUs, by anybody on the machine, for each 10^9 bytes. */
  cpuPerGB: number
}

/** Gbit/s received in one run of iperf3, and what it cost. */
export async function carried(way: Way, ...options: string[]): Promise<Carried> {
  const before = cpuTimes().used
  const { bytes, seconds } = await stream(way, 1, 0, ...options)
  return { gigabits: (bytes * 8) / 1e9 / seconds, cpuPerGB: (cpuTimes().used - before) / (bytes / 1e9) }
}

export interface RoundTrips {
  perSecond: number
  /** Microseconds. */
  p50: number
  p99: number
}

const RR_PORT = '7000'

/** Starts what roundTrips() talks to. */
export const roundTripServer = (paths: Paths, netns: string) => serve(paths, netns, ...program('rr'), 'serve', RR_PORT)

/** One byte there and back over TCP, again and again. */
export const roundTrips = async ({ from, address }: Way, seconds: number): Promise<RoundTrips> =>
  JSON.parse(await exec(from, ...program('rr'), 'ask', address, RR_PORT, String(seconds)))
