/** A dual-stack cluster: every pod has an address of each family, and both go everywhere. */
import * as assert from 'uvu/assert'
import { eventually } from '../support.ts'
import type { Machine } from './machine.ts'
import { deploy, type Pod, undeploy } from './pods.ts'
import { unreachable } from './reach.ts'
import { measured, scenarios } from './scenario.ts'
import { Transfer } from './traffic.ts'
import { apply, nothingLeft, snapshot, uninstall } from './tunlink.ts'

const test = scenarios('dual-stack', { dualStack: true })
let before: Record<string, string[]>[]
let pods: Pod[]

/** As in `10.244.1.0/24 via 10.199.0.12`: of both families, installed by tunlinkd (protocol 77). */
const routes = (node: Machine): string[] =>
  ['-4', '-6'].flatMap(family =>
    node.ip(family, 'route', 'show', 'proto', '77').map(({ dst, gateway }: { dst: string; gateway?: string }) => `${dst} via ${gateway}`),
  )

test('each node has a route of each family to the pods of the other', async cluster => {
  before = cluster.nodes.map(snapshot)
  await apply(cluster)
  const wanted = [
    [0, '10.244.1.0/24 via 10.199.0.12', 'fd00:10:244:1::/64 via fd00:10:199::12'],
    [1, '10.244.0.0/24 via 10.199.0.11', 'fd00:10:244::/64 via fd00:10:199::11'],
  ] as const
  for (const [index, ...lines] of wanted) {
    const node = cluster.nodes[index]!
    await eventually(`${lines.join(' and ')} are there`, () => lines.every(line => routes(node).includes(line)), 30)
  }
})

test('six pods: an address of each family, all reach all, nodes, API server', async cluster => {
  pods = (await deploy(cluster, { name: 'web', replicas: 6 })).pods
  for (const { ips, name } of pods) assert.equal([ips.length, ips[0]?.includes('.'), ips[1]?.includes(':')], [2, true, true], name)
  assert.is(new Set(pods.flatMap(({ ips }) => ips)).size, 12)
  assert.equal(unreachable(cluster, pods), [])
})

test('256 MiB go from node to node by each family', async cluster => {
  const [from, to] = cluster.nodes.map(node => pods.find(pod => pod.node === node)!)
  for (const ip of to!.ips) {
    const transfer = await Transfer.start(from!, { ...to!, ip }, { bytes: 2 ** 28 })
    const { bytes, rate } = await transfer.finish(120, false)
    assert.is(bytes, 2 ** 28)
    measured(`256 MiB to ${ip}, SHA-256 equal, ${(rate / 1e9).toFixed(2)} Gbit/s with the hashing`)
  }
})

test('uninstalled, the nodes are as they were', async cluster => {
  await undeploy(cluster, 'web')
  await nothingLeft(cluster)
  uninstall()
  cluster.nodes.forEach((node, index) => {
    assert.equal(snapshot(node), before[index])
  })
})

test.run()
