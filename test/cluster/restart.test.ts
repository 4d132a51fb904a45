/**
 * What lives through the end of what made it: connections through tunlinkd's, files through their
 * removal, pods through containerd's.
 */
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import * as assert from 'uvu/assert'
import { eventually } from '../support.ts'
import { kubectl } from './control-plane.ts'
import { deploy, type Pod, podPings, podsOf, statuses, undeploy } from './pods.ts'
import { measured, scenarios } from './scenario.ts'
import { Transfer } from './traffic.ts'
import { agentPids, agents, apply, daemonSet, daemons, nothingLeft, rollout } from './tunlink.ts'

const EXECUTABLE = '/opt/cni/bin/tunlink'
const CONFLIST = '/etc/cni/net.d/10-tunlink.conflist'
const test = scenarios('restarts')
let pair: [Pod, Pod]

test('both nodes become Ready, with a pod on each', async cluster => {
  await apply(cluster)
  const { pods } = await deploy(cluster, { name: 'pair', replicas: 2 })
  pair = [pods.find(({ node }) => node === cluster.nodes[0])!, pods.find(({ node }) => node === cluster.nodes[1])!]
  measured(`packets travel by the wire "${agents(cluster)[0]!.wire}"`)
})

/**
 * Runs `event` during a transfer between the nodes, which must complete; prints for how long
 * nothing came.
 */
async function during(what: string, event: () => Promise<void>): Promise<void> {
  const transfer = await Transfer.start(...pair, { pauseMs: 10 })
  await event()
  assert.ok(transfer.running, `the transfer goes on after: ${what}`)
  const { bytes, longestPauseMs } = await transfer.finish(30)
  measured(`${what}: ${(bytes / 2 ** 20).toFixed(0)} MiB went between the nodes, none of it for ${longestPauseMs} ms`)
}

test('a transfer between nodes outlives tunlinkd killed on both', async cluster => {
  await during('tunlinkd killed', async () => {
    const killed = daemons(cluster).map(({ pid }) => pid)
    for (const pid of killed) process.kill(pid, 'SIGKILL')
    const back = () => daemons(cluster).filter(({ ready, pid }) => ready && pid > 0 && !killed.includes(pid)).length === 2
    await eventually('tunlinkd is back', back, 60)
  })
})

test('a transfer between nodes outlives a rolling restart', async () => {
  const [flag, namespace, name] = daemonSet()
  await during('tunlinkd restarted', async () => {
    kubectl([flag, namespace, 'rollout', 'restart', name])
    rollout()
  })
})

test('a transfer between nodes outlives a rolling upgrade to another image', async cluster => {
  const [flag, namespace, name] = daemonSet()
  const { image } = daemons(cluster)[0]!
  const newer = `${image}-upgrade`
  for (const node of cluster.nodes) node.run('ctr', '-n', 'k8s.io', 'images', 'tag', image, newer)
  await during('tunlinkd upgraded', async () => {
    kubectl([flag, namespace, 'set', 'image', name, `tunlinkd=${newer}`])
    rollout()
    await eventually('the image is the newer one', () => daemons(cluster).every(daemon => daemon.image === newer), 30)
  })
})

test('a transfer between nodes outlives their agents, killed', async cluster => {
  await during('agents killed', async () => {
    const killed = cluster.nodes.flatMap(agentPids)
    assert.is(killed.length, 2)
    await sleep(1_000) // in which the transfer begins
    for (const pid of killed) process.kill(pid, 'SIGKILL')
    await eventually('agents answer again', () => cluster.nodes.every(node => node.succeeds('/opt/cni/bin/tunlink', 'status')), 30)
    await sleep(2_000)
  })
})

for (const file of [CONFLIST, EXECUTABLE]) {
  test(`${file}, removed, is back within 2 s`, async cluster => {
    for (const node of cluster.nodes) {
      const path = node.path(file)
      const content = readFileSync(path)
      const started = Date.now()
      rmSync(path)
      await eventually(`${file} is back`, () => same(path, content), 2)
      measured(`${file} healed on ${node.name} in ${Date.now() - started} ms`)
    }
  })
}

test('a wiped /opt/cni/bin gets the executable back within 2 s', async cluster => {
  const node = cluster.nodes[0]
  const content = readFileSync(node.path(EXECUTABLE))
  for (const name of readdirSync(node.path('/opt/cni/bin'))) rmSync(node.path(`/opt/cni/bin/${name}`))
  await eventually('the executable is back', () => same(node.path(EXECUTABLE), content), 2)
  for (const plugin of ['loopback', 'portmap', 'ptp', 'host-local']) node.run('cp', `/usr/lib/cni/${plugin}`, '/opt/cni/bin/')
})

test('twenty pods outlive containerd', async cluster => {
  const { pods: twenty } = await deploy(cluster, { name: 'twenty', replicas: 20 })
  for (const node of cluster.nodes) node.kill('containerd')
  await eventually('containerd answers', () => cluster.nodes.every(node => node.succeeds('ctr', 'version')), 30)
  for (const pod of twenty) assert.ok(podPings(pair[0], pod.ip), `${pod.name} answers`)
  await cluster.ready()
  await eventually('the same pods are Ready', () => statuses(cluster, 'twenty').filter(({ ready }) => ready).length === 20, 60)
  const identity = (list: Pod[]) => list.map(({ name, ip, pid }) => `${name} ${ip} ${pid}`).sort()
  assert.equal(identity(podsOf(cluster, 'twenty')), identity(twenty))
})

test('all pods deleted: no link, record, lease or nft element left', async cluster => {
  await undeploy(cluster, 'twenty')
  await undeploy(cluster, 'pair')
  await nothingLeft(cluster)
})

function same(path: string, content: Buffer): boolean {
  try {
    return readFileSync(path).equals(content)
  } catch {
    return false
  }
}

test.run()
