/**
 * 10 GiB over TCP in both directions at once, by SHA-256, and every size of datagram, by each wire.
 * Throws when anything differs.
 */
import { join } from 'node:path'
import { figure, type Label, type Row } from './measure.ts'
import { type Path, type Paths, type TunlinkOptions, withPaths } from './paths.ts'
import { exec } from './traffic.ts'

const WIRES: Record<string, TunlinkOptions> = {
  kernel: {},
  io_uring: { wire: 'thread', agent: ['--wire', 'io_uring'] },
  epoll: { wire: 'thread', agent: ['--wire', 'epoll'] },
}
const BYTES = 10 * 2 ** 30

export const integrity = async (): Promise<Row[]> => {
  const rows: Row[] = []
  for (const [wire, options] of Object.entries(WIRES)) rows.push(...(await withPaths(paths => check(paths, wire, options))))
  return rows
}

async function check(paths: Paths, wire: string, options: TunlinkOptions): Promise<Row[]> {
  const [one, two] = (await paths.tunlink(2, options)).paths as [Path, Path]
  const started = performance.now()
  await Promise.all([transfer(paths, one, two), transfer(paths, two, one)])
  const gigabits = (2 * BYTES * 8) / 1e6 / (performance.now() - started)
  await listens(paths, one.node, 'datagrams', 'echo', '5000')
  const asked = await exec(one.pod, process.execPath, program('datagrams'), 'ask', one.nodeAddress, '5000', '1472')
  const { sent, received, duplicates, reordered, damaged } = JSON.parse(asked)
  if (duplicates + reordered + damaged > 0) throw new Error(`${wire}: ${duplicates} twice, ${reordered} out of order, ${damaged} damaged`)
  const label = (what: string, unit: string): Label => ({ bench: 'integrity', what: `${what}, ${wire}`, unit })
  return [
    figure(label('2 x 10 GiB with SHA-256', 'Gbit/s'), gigabits),
    figure({ ...label('datagrams of 1 to 1472 bytes lost', ''), target: { most: 0 } }, sent - received),
  ]
}

/** A program of the tests. */
const program = (name: string) => join(import.meta.dirname, `../test/${name}.ts`)

/** Starts one and waits for its first line, which says that it listens. */
async function listens(paths: Paths, netns: string, name: string, ...args: string[]) {
  const child = paths.start(netns, process.execPath, program(name), ...args)
  await new Promise(resolve => child.stdout!.once('data', resolve))
  return child
}

async function transfer(paths: Paths, from: Path, to: Path): Promise<void> {
  const child = await listens(paths, to.pod, 'transfer', 'receive', '5001')
  const received = new Promise<string>(resolve => child.stdout!.once('data', chunk => resolve(String(chunk))))
  const sent = await exec(from.pod, process.execPath, program('transfer'), 'send', to.podAddress, '5001', String(BYTES))
  if (sent !== (await received)) throw new Error(`sent ${sent}, received ${await received}`)
}
