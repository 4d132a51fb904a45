/**
 * The links that are compared: ours, and the veth pairs of the plugin `ptp`. Each kind has a node
 * of its own.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { dirname } from 'node:path'
import { socketPath } from '../src/agent/protocol.ts'
import { AGENT_ENV } from '../src/agent/spawn.ts'
import type { Wire } from '../src/wire/wire.ts'
import { eventually, Lab } from '../test/support.ts'

export const PTP = '/usr/lib/cni/ptp'

/** A pod's link to its node: names of two network namespaces, and an address in each. */
export interface Path {
  pod: string
  podAddress: string
  node: string
  nodeAddress: string
}

export interface TunlinkOptions {
  wire?: Wire
  /** The executable; default: the one that was built. */
  executable?: string
  /** Of `tunlink agent`. */
  agent?: string[]
}

/** Keeps what it makes until close(), which the end of the process calls too. */
export class Paths {
  readonly #labs: Lab[] = []
  readonly #children: ChildProcess[] = []
  readonly #atExit = () => this.close()

  constructor() {
    process.on('exit', this.#atExit)
  }

  /** So many links of one agent. */
  async tunlink(count: number, { wire = 'kernel', executable, agent = [] }: TunlinkOptions = {}): Promise<{ paths: Path[]; lab: Lab }> {
    const lab = this.lab(executable)
    const env = { ...AGENT_ENV, PATH: `${dirname(process.execPath)}:${process.env.PATH}` }
    const command = ['netns', 'exec', lab.node, lab.executable, 'agent', '--data-dir', lab.dataDir, ...agent]
    this.#children.push(spawn('ip', command, { stdio: 'ignore', env }))
    await eventually('the agent serves', () => existsSync(socketPath(lab.dataDir)), 30)
    const conf = { wire, ipam: { type: 'tunlink', subnet: '10.66.0.0/16' } }
    return { lab, paths: Array.from({ length: count }, () => this.#add(lab, conf)) }
  }

  /**
   * So many veth pairs: a host route to each pod, and the pod's traffic routed by the node, as with
   * our links.
   */
  ptp(count: number): Path[] {
    const lab = this.lab()
    const ipam = { type: 'host-local', subnet: '10.76.0.0/16', dataDir: `${lab.dataDir}/host-local` }
    return lab.with(PTP, () =>
      Array.from({ length: count }, () => this.#add(lab, { cniVersion: '1.0.0', name: 'peer', type: 'ptp', ipam })),
    )
  }

  lab(executable?: string): Lab {
    const lab = new Lab(executable)
    this.#labs.push(lab)
    return lab
  }

  /** A process that lives until close() or until it ends. */
  start(netns: string, ...command: string[]): ChildProcess {
    const child = spawn('ip', ['netns', 'exec', netns, ...command], { stdio: ['ignore', 'pipe', 'pipe'] })
    this.#children.push(child)
    return child
  }

  close(): void {
    process.off('exit', this.#atExit)
    for (const child of this.#children) child.kill('SIGKILL')
    for (const lab of this.#labs) lab.close()
  }

  #add(lab: Lab, conf: object): Path {
    const pod = lab.netns()
    const [{ address, gateway }] = lab.must('ADD', pod, conf).json.ips
    return { pod, podAddress: address.split('/')[0], node: lab.node, nodeAddress: gateway }
  }
}

export async function withPaths<T>(body: (paths: Paths) => Promise<T>): Promise<T> {
  const paths = new Paths()
  try {
    return await body(paths)
  } finally {
    paths.close()
  }
}
