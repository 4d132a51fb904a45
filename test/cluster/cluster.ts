/**
 * A Kubernetes of two nodes on this machine, from nothing to nodes that wait for a network; one at
 * a time.
 */
import { execFileSync } from 'node:child_process'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { eventually } from '../support.ts'
import { API, controlPlaneStart, kubectl, kubectlTry } from './control-plane.ts'
import { addressAdd, Machine } from './machine.ts'
import { FABRIC, makeDirectory, removeAll } from './namespaces.ts'

/** Holds sleep as its entry point, and busybox: the pods run it too. */
const IMAGE = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'tunlink-test', 'pause.tar')

export interface ClusterOptions {
  /** Nodes on networks of their own with a router between, instead of on one link. */
  routed?: boolean
  /** Image archives that every node has, beside the pods' own. */
  images?: string[]
  /** IPv6 beside IPv4: for nodes, pods and Services. */
  dualStack?: boolean
  /** kube-proxy on every node; without, the Service `kubernetes` is the only one that works. */
  proxy?: 'iptables'
}

const POD_CIDRS = ['10.244.0.0/16', 'fd00:10:244::/48']

export class Cluster {
  readonly nodes: [Machine, Machine]

  readonly #dualStack: boolean

  private constructor(nodes: [Machine, Machine], dualStack: boolean) {
    this.nodes = nodes
    this.#dualStack = dualStack
  }

  /**
   * Both nodes registered, each with its pod CIDRs (10.244.0.0/24 and 10.244.1.0/24, in a
   * dual-stack cluster fd00:10:244:0::/64 and fd00:10:244:1::/64 too), and without any network
   * configuration.
   */
  static async up({ routed = false, images = [], dualStack = false, proxy }: ClusterOptions = {}): Promise<Cluster> {
    if (process.getuid?.() !== 0) throw new Error('The cluster is made of network namespaces: run this as root')
    removeAll()
    makeDirectory()
    const families = dualStack ? 2 : 1
    fabric(routed)
    await controlPlaneStart(['n1', 'n2'], dualStack)
    const machine = (index: number) => {
      const [net, host] = routed ? [index, 11] : [0, 10 + index]
      const addresses = [`10.199.${net}.${host}`, `fd00:10:199:${net}::${host}`].slice(0, families)
      const gateways = [`10.199.${net}.1`, `fd00:10:199:${net}::1`].slice(0, families)
      const leg = routed ? {} : { bridge: 'br0' }
      const proxied = proxy && { proxy: { clusterCIDR: POD_CIDRS.slice(0, families).join() } }
      return new Machine({ name: `n${index}`, addresses, gateways, images: [IMAGE, ...images], ...leg, ...proxied })
    }
    const cluster = new Cluster([machine(1), machine(2)], dualStack)
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
    const podCIDRs = this.podCIDRs(node)
    kubectl(['patch', 'node', node.name, '-p', JSON.stringify({ spec: { podCIDR: podCIDRs[0], podCIDRs } })])
  }

  /** Of IPv4. */
  podCIDR(node: Machine): string {
    return `10.244.${this.nodes.indexOf(node)}.0/24`
  }

  /** One of each family that the cluster has. */
  podCIDRs(node: Machine): string[] {
    const second = `fd00:10:244:${this.nodes.indexOf(node)}::/64`
    return this.#dualStack ? [this.podCIDR(node), second] : [this.podCIDR(node)]
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

/** The router's addresses where all nodes are on one link: a client outside of the cluster. */
export const OUTSIDE = ['10.199.0.1', 'fd00:10:199::1']

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
    for (const address of OUTSIDE) addressAdd(FABRIC, address, 'br0')
    ip('link', 'set', 'br0', 'up')
  }
  for (const family of ['-4', '-6']) ip(family, 'route', 'add', 'unreachable', 'default')
  const settings = ['net.ipv4.ip_forward=1', 'net.ipv4.conf.all.send_redirects=0', 'net.ipv6.conf.all.forwarding=1']
  execFileSync('ip', ['netns', 'exec', FABRIC, 'sysctl', '-qw', ...settings])
}
