/**
 * A Kubernetes of two nodes on this machine, from nothing to nodes that wait for a network; one at
 * a time.
 */
import { execFileSync } from 'node:child_process'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { eventually } from '../support.ts'
import { API, controlPlaneStart, kubectl, kubectlTry } from './control-plane.ts'
import { Machine } from './machine.ts'
import { FABRIC, makeDirectory, removeAll } from './namespaces.ts'

/** Holds sleep as its entry point, and busybox: the pods run it too. */
const IMAGE = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'tunlink-test', 'pause.tar')

export interface ClusterOptions {
  /** Nodes on networks of their own with a router between, instead of on one link. */
  routed?: boolean
  /** Image archives that every node has, beside the pods' own. */
  images?: string[]
}

export class Cluster {
  readonly nodes: [Machine, Machine]

  private constructor(nodes: [Machine, Machine]) {
    this.nodes = nodes
  }

  /**
   * Both nodes registered, each with its pod CIDR, 10.244.0.0/24 and 10.244.1.0/24, and without any
   * network configuration.
   */
  static async up({ routed = false, images = [] }: ClusterOptions = {}): Promise<Cluster> {
    if (process.getuid?.() !== 0) throw new Error('The cluster is made of network namespaces: run this as root')
    removeAll()
    makeDirectory()
    fabric(routed)
    await controlPlaneStart(['n1', 'n2'])
    const machine = (index: number) => {
      const gateway = routed ? `10.199.${index}.1` : '10.199.0.1'
      const address = routed ? `10.199.${index}.11` : `10.199.0.${10 + index}`
      const leg = routed ? { gateway } : { bridge: 'br0' }
      return new Machine({ name: `n${index}`, address, gateway, fabric: leg, images: [IMAGE, ...images] })
    }
    const cluster = new Cluster([machine(1), machine(2)])
    for (const node of cluster.nodes) node.start()
    for (const node of cluster.nodes) await cluster.registered(node)
    await eventually('the default service account', () => kubectlTry('get', 'serviceaccount', 'default').status === 0, 30)
    return cluster
  }

  /**
   * Waits until the node's kubelet has registered it, then does at once what the nodeipam
   * controller does late.
   */
  async registered(node: Machine): Promise<void> {
    await eventually(`node ${node.name} registers`, () => kubectlTry('get', 'node', node.name).status === 0, 60)
    const podCIDR = this.podCIDR(node)
    kubectl(['patch', 'node', node.name, '-p', JSON.stringify({ spec: { podCIDR, podCIDRs: [podCIDR] } })])
  }

  podCIDR(node: Machine): string {
    return `10.244.${this.nodes.indexOf(node)}.0/24`
  }

  /** Whether the node is Ready, and why not. */
  readiness(node: Machine): { ready: boolean; message: string } {
    const { conditions } = JSON.parse(kubectl(['get', 'node', node.name, '-o', 'json'])).status
    const ready = conditions.find(({ type }: { type: string }) => type === 'Ready')
    return { ready: ready?.status === 'True', message: ready?.message ?? '' }
  }

  /** Milliseconds until every node is Ready. */
  async ready(seconds = 60): Promise<number> {
    const started = Date.now()
    await eventually('every node is Ready', () => this.nodes.every(node => this.readiness(node).ready), seconds)
    return Date.now() - started
  }

  /** Ends everything. */
  down(): void {
    removeAll()
  }
}

/**
 * The router between the nodes, on which the control plane runs; what is not for the cluster ends
 * there.
 */
function fabric(routed: boolean): void {
  const ip = (...words: string[]) => execFileSync('ip', ['-n', FABRIC, ...words])
  execFileSync('ip', ['netns', 'add', FABRIC])
  ip('link', 'set', 'lo', 'up')
  ip('address', 'add', `${API}/32`, 'dev', 'lo')
  if (!routed) {
    ip('link', 'add', 'br0', 'type', 'bridge')
    ip('address', 'add', '10.199.0.1/24', 'dev', 'br0')
    ip('link', 'set', 'br0', 'up')
  }
  ip('route', 'add', 'unreachable', 'default')
  execFileSync('ip', ['netns', 'exec', FABRIC, 'sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv4.conf.all.send_redirects=0'])
}
