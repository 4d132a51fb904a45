/** The ways from a pod to its node that are compared, each in namespaces of its own. */
import { type ChildProcess, spawn } from 'node:child_process'
import { dirname } from 'node:path'
import { AGENT_ENV } from '../src/agent/spawn.ts'
import { eventually, ip, Lab } from '../test/support.ts'

/** Traffic goes from `pod` to `address`, which is the node's. */
export interface Path {
  name: string
  pod: string
  node: string
  address: string
}

/** Keeps what it makes until close(). */
export class Paths {
  readonly #labs: Lab[] = []
  readonly #children: ChildProcess[] = []

  /** Links of one agent; `options` are the agent's. */
  async tunlink(count: number, ...options: string[]): Promise<{ paths: Path[]; lab: Lab }> {
    const lab = this.lab()
    const env = { ...AGENT_ENV, PATH: `${dirname(process.execPath)}:${process.env.PATH}` }
    this.#children.push(
      spawn('ip', ['netns', 'exec', lab.node, lab.executable, 'agent', '--data-dir', lab.dataDir, ...options], { stdio: 'ignore', env }),
    )
    await eventually('the agent serves', () => lab.run({}, '').status === 0 && lab.agentPid() !== undefined)
    const ipam = { type: 'tunlink', subnet: '10.66.0.0/16' }
    const paths = Array.from({ length: count }, () => {
      const pod = lab.netns()
      lab.must('ADD', pod, { ipam })
      return { name: 'tunlink', pod, node: lab.node, address: '10.66.0.1' }
    })
    return { paths, lab }
  }

  veth(count = 1): Path[] {
    const lab = this.lab()
    return Array.from({ length: count }, (_, index) => {
      const pod = lab.netns()
      this.#veth(lab.node, `v${index}`, `10.78.${index}.1`, pod, 'eth0', `10.78.${index}.2`)
      return { name: 'veth', pod, node: lab.node, address: `10.78.${index}.1` }
    })
  }

  async slirp(): Promise<Path> {
    const lab = this.lab()
    const pod = lab.netns()
    this.start(lab.node, 'slirp4netns', '--configure', '--mtu=65520', '--netns-type=path', `/run/netns/${pod}`, 'tap0')
    await eventually('slirp4netns has made its device', () => lab.links(pod).includes('tap0'))
    return { name: 'slirp4netns', pod, node: lab.node, address: '10.0.2.2' } // its name for the node's loopback
  }

  async pasta(): Promise<Path> {
    const lab = this.lab()
    const [pod, beyond] = [lab.netns(), lab.netns()]
    this.#veth(lab.node, 'uplink', '10.79.0.2', beyond, 'eth0', '10.79.0.1')
    ip(lab.node, 'route', 'add', 'default', 'via', '10.79.0.1')
    this.start(
      lab.node,
      'pasta',
      '-f',
      '--runas',
      '0',
      '--config-net',
      '-t',
      'none',
      '-u',
      'none',
      '-T',
      'none',
      '-U',
      'none',
      '--netns',
      `/run/netns/${pod}`,
    )
    await eventually('pasta has made its device', () => lab.links(pod).length > 0)
    return { name: 'pasta', pod, node: lab.node, address: '10.79.0.1' } // the gateway: its name for the node's loopback
  }

  lab(): Lab {
    const lab = new Lab()
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
    for (const child of this.#children) child.kill('SIGKILL')
    for (const lab of this.#labs) lab.close()
  }

  #veth(node: string, nodeIfname: string, nodeAddress: string, pod: string, podIfname: string, podAddress: string): void {
    ip(node, 'link', 'add', nodeIfname, 'type', 'veth', 'peer', 'name', podIfname, 'netns', pod)
    ip(node, 'address', 'add', `${nodeAddress}/24`, 'dev', nodeIfname)
    ip(node, 'link', 'set', nodeIfname, 'up')
    ip(pod, 'address', 'add', `${podAddress}/24`, 'dev', podIfname)
    ip(pod, 'link', 'set', podIfname, 'up')
  }
}
