/** Nodes that share no link: host-gw says why it cannot, vxlan works. */

import { spawnSync } from 'node:child_process'
import * as assert from 'uvu/assert'
import { eventually } from '../support.ts'
import { deploy, inPod, type Pod, podCommand } from './pods.ts'
import { unreachable } from './reach.ts'
import { measured, scenarios } from './scenario.ts'
import { Transfer } from './traffic.ts'
import { apply, daemonLogs, daemons, events } from './tunlink.ts'

const test = scenarios('vxlan', { routed: true })
let pair: [Pod, Pod]

test('host-gw says, in an event and in the log, that a router is between', async cluster => {
  await apply(cluster)
  const refusal = () => events().find(message => /not on a shared link|not on a link shared/.test(message) && /vxlan/.test(message))
  await eventually('an event says it', () => refusal() !== undefined, 30)
  measured(`host-gw says: ${refusal()}`)
  assert.match(daemons(cluster).map(daemonLogs).join(''), /vxlan/)
  for (const node of cluster.nodes)
    assert.not(
      node.ip('route').some(({ dst }: { dst: string }) => cluster.nodes.some(other => other !== node && dst === cluster.podCIDR(other))),
    )
})

test('the vxlan overlay: all reach all', async cluster => {
  await apply(cluster, 'vxlan')
  const { pods } = await deploy(cluster, { name: 'web', replicas: 4 })
  assert.equal(unreachable(cluster, pods), [])
  pair = [pods.find(({ node }) => node === cluster.nodes[0])!, pods.find(({ node }) => node === cluster.nodes[1])!]
})

test('the pods have the MTU that fits: 50 bytes less, and packets of that size pass unfragmented', async () => {
  const [{ mtu }] = JSON.parse(inPod(pair[0], 'ip', '-j', 'link', 'show', 'dev', 'eth0'))
  assert.is(mtu, 1450)
  const whole = (bytes: number) =>
    spawnSync(...podCommand(pair[0], 'ping', '-M', 'do', '-s', String(bytes - 28), '-c', '1', '-W', '2', pair[1].ip)).status === 0
  assert.ok(whole(1450))
  assert.not(whole(1451))
})

test('1 GiB from node to node arrives as it was sent', async () => {
  const transfer = await Transfer.start(...pair, { bytes: 2 ** 30 })
  const { bytes, rate } = await transfer.finish(120, false)
  assert.is(bytes, 2 ** 30)
  measured(`1 GiB through vxlan, SHA-256 equal, ${(rate / 1e9).toFixed(2)} Gbit/s with the hashing`)
})

test.run()
