/**
 * kube-proxy (iptables) in a dual-stack cluster: Services reach pods from pods, nodes and outside,
 * by ClusterIP and NodePort, TCP and UDP, and pods see whom they should.
 */
import * as assert from 'uvu/assert'
import { eventually } from '../support.ts'
import { type Cluster, OUTSIDE } from './cluster.ts'
import { kubectl } from './control-plane.ts'
import type { Machine } from './machine.ts'
import { http, type Pod, podCommand } from './pods.ts'
import { connects } from './reach.ts'
import { measured, scenarios } from './scenario.ts'
import { clusterIPs, deployServices, type From, NODE_PORTS, outside, who, whoByUdp } from './services.ts'
import { apply, nothingLeft } from './tunlink.ts'

const test = scenarios('services', { proxy: 'iptables', dualStack: true })
type Check = [what: string, holds: () => boolean | Promise<boolean>]
let pods: [Pod, Pod]

/** The names of those that do not hold. */
async function failing(checks: Check[]): Promise<string[]> {
  const failed: string[] = []
  for (const [what, holds] of checks) if (!(await holds())) failed.push(what)
  measured(`${checks.length - failed.length} of ${checks.length} hold`)
  return failed
}

/** Whether it holds within 10 s: kube-proxy follows the API. */
const soon = (holds: () => boolean) =>
  eventually('', holds, 10).then(
    () => true,
    () => false,
  )

type Ask = typeof who
const answers = (from: From, address: string, port: number, pod: string, ask: Ask = who) =>
  soon(() => ask(from, address, port).startsWith(`${pod} `))

/** Each of the two pods answers at some time. */
async function both(from: From, address: string, port: number, ask: Ask = who): Promise<boolean> {
  return (await answers(from, address, port, 'web1', ask)) && (await answers(from, address, port, 'web2', ask))
}

/** What there is to reach in one family. */
interface Addresses {
  pods: [string, string]
  nodes: [string, string]
  outside: string
  /** ClusterIPs. */
  web: string
  web1: string
  web2: string
}

function addressesOf(cluster: Cluster, family: 0 | 1): Addresses {
  const of = (lists: [string[], string[]]) => [lists[0][family]!, lists[1][family]!] as [string, string]
  const [web, web1, web2] = ['web', 'web1', 'web2'].map(name => clusterIPs(name)[family]!)
  const nodes = of([cluster.nodes[0].addresses, cluster.nodes[1].addresses])
  return { pods: of([pods[0].ips, pods[1].ips]), nodes, outside: OUTSIDE[family]!, web: web!, web1: web1!, web2: web2! }
}

const fromPods = (one: From, two: From, at: Addresses): Check[] => [
  ['pod to pod of the other node', () => answers(one, at.pods[1], 8080, 'web2')],
  ['pod to pod: its own address', () => who(one, at.pods[1], 8080) === `web2 ${at.pods[0]}`],
  ['web1 to a ClusterIP of both pods', () => both(one, at.web, 80)],
  ['web2 to a ClusterIP of both pods', () => both(two, at.web, 80)],
  ['pod to ClusterIP: its own address', () => who(one, at.web2, 80) === `web2 ${at.pods[0]}`],
  ['hairpin: pod to itself by ClusterIP', () => answers(one, at.web1, 80, 'web1')],
  ['hairpin: pod to itself by NodePort', () => answers(one, at.nodes[0], NODE_PORTS.web1, 'web1')],
  ['pod to NodePort of the other node', () => both(one, at.nodes[1], NODE_PORTS.web)],
]

const fromNode = (node: Machine, at: Addresses): Check[] => [
  [`node ${node.name} to ClusterIP`, () => both(node.command(), at.web, 80)],
  [`node ${node.name} to pods`, () => answers(node.command(), at.pods[0], 8080, 'web1')],
]

const fromOutside = ({ nodes, outside: address }: Addresses): Check[] => [
  ...nodes.map((node): Check => [`outside to NodePort of ${node}`, () => both(outside, node, NODE_PORTS.web)]),
  ["outside to NodePort, policy Local: the client's address", () => who(outside, nodes[0], NODE_PORTS.web1) === `web1 ${address}`],
  ['outside to NodePort, policy Local, node without the pod: nothing', () => who(outside, nodes[1], NODE_PORTS.web1) === ''],
]

const byUdp = (one: From, node: Machine, at: Addresses): Check[] => [
  ['UDP: pod to ClusterIP', () => both(one, at.web, 53, whoByUdp)],
  [`UDP: node ${node.name} to ClusterIP`, () => both(node.command(), at.web, 53, whoByUdp)],
  ['UDP: outside to NodePort', () => both(outside, at.nodes[0], NODE_PORTS.udp, whoByUdp)],
]

test('both nodes become Ready, with a pod on each', async cluster => {
  await apply(cluster)
  pods = await deployServices(cluster)
})

for (const family of [0, 1] as const) {
  test(`${family === 0 ? 'IPv4' : 'IPv6'}: Services reach pods from pods, nodes and outside`, async cluster => {
    const at = addressesOf(cluster, family)
    const [one, two] = [podCommand(pods[0]), podCommand(pods[1])]
    const nodes = cluster.nodes.flatMap(node => fromNode(node, at))
    assert.equal(await failing([...fromPods(one, two, at), ...nodes, ...fromOutside(at)]), [])
    assert.equal(await failing(byUdp(one, cluster.nodes[1], at)), [])
  })
}

test('a pod reaches the API server by its Service; a Service goes on with the pod that is left', async () => {
  const [service] = clusterIPs('kubernetes')
  const [web] = clusterIPs('web')
  const one = podCommand(pods[0])
  const checks: Check[] = [
    ['pod to the API server by Service', () => connects(one, service!, 443)],
    ["a Service's pod is deleted", () => kubectl(['delete', 'pod', 'web2', '--now']) !== ''],
    ['the rules no longer have it', () => soon(() => six(() => http(one, web!, 80) === 'web1'))],
    ['the other one answers always', () => six(() => http(one, web!, 80) === 'web1')],
  ]
  assert.equal(await failing(checks), [])
})

/** With two pods to choose from by lot, one that is gone would be drawn. */
const six = (holds: () => boolean) => Array.from({ length: 6 }, holds).every(Boolean)

test('all pods deleted: nothing of them is left', async cluster => {
  kubectl(['delete', 'pod', 'web1', '--now'])
  await nothingLeft(cluster)
})

test.run()
