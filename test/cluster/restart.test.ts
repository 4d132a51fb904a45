/**
 * What lives through the end of what made it: connections through tunlinkd's, files through their
 * removal, pods through containerd's.
 */
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import * as assert from 'uvu/assert'
import { eventually } from '../support.ts'
import type { Cluster } from './cluster.ts'
import { kubectl } from './control-plane.ts'
import { plainPair } from './plain.ts'
import { deploy, type Pod, podPings, podsOf, statuses, undeploy } from './pods.ts'
import { runtimeVersion } from './runtime.ts'
import { measured, scenarios } from './scenario.ts'
import { Transfer } from './traffic.ts'
import { agentPids, agents, apply, buildNext, daemonSet, daemons, nothingLeft, remove, rollout } from './tunlink.ts'

const EXECUTABLE = '/opt/cni/bin/tunlink'
const CONFLIST = '/etc/cni/net.d/10-tunlink.conflist'
const test = scenarios('restarts')
let pair: [Pod, Pod]
let plain: [Pod, Pod]
let wire: string

/** Kills the agents that there are: deleting tunlink has ended those in tunlinkd's container. */
function killAgents(cluster: Cluster): number {
  const pids = cluster.nodes.flatMap(agentPids)
  for (const pid of pids) process.kill(pid, 'SIGKILL')
  return pids.length
}

async function killContainerd(cluster: Cluster): Promise<void> {
  for (const node of cluster.nodes) node.kill('containerd')
  await eventually('containerd answers', () => cluster.nodes.every(node => node.succeeds('ctr', 'version')), 30)
}

test('both nodes become Ready, with a pod on each', async cluster => {
  await apply(cluster)
  const { pods } = await deploy(cluster, { name: 'pair', replicas: 2 })
  pair = [pods.find(({ node }) => node === cluster.nodes[0])!, pods.find(({ node }) => node === cluster.nodes[1])!]
  plain = await plainPair(cluster)
  wire = agents(cluster)[0]!.wire
  measured(`${runtimeVersion()}; packets travel by the wire "${wire}"`)
})

/**
 * Runs `event` during two transfers between the nodes, by tunlink and by plain routing, which must
 * complete; prints for how long nothing came by each. What both waited for is the machine's.
 */
async function during(what: string, event: () => Promise<unknown>): Promise<void> {
  const transfers = await Promise.all([pair, plain].map(([from, to]) => Transfer.start(from, to, { pauseMs: 10 })))
  await sleep(1_000) // in which they begin
  await event()
  await sleep(2_000)
  for (const transfer of transfers) assert.ok(transfer.running, `the transfer goes on after: ${what}`)
  const [ours, others] = await Promise.all(transfers.map(transfer => transfer.finish(30)))
  const mebibytes = (ours!.bytes / 2 ** 20).toFixed(0)
  measured(`${what}: ${mebibytes} MiB, longest pause ${ours!.longestPauseMs} ms; by plain routing ${others!.longestPauseMs} ms`)
  // no less would do on a busy machine; a wire that is away shows by more, as TCP waits longer and
  // longer
  if (wire === 'kernel') assert.ok(ours!.longestPauseMs <= 3 * others!.longestPauseMs + 1_000, `the longest pause is like plain routing's`)
}

test('a transfer between nodes, when nothing happens', () => during('nothing happens', () => sleep(3_000)))

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

test('a transfer between nodes outlives a rolling upgrade to a build of another version', async cluster => {
  const [flag, namespace, name] = daemonSet()
  const newer = `${daemons(cluster)[0]!.image}-next`
  const { version } = buildNext(cluster, newer)
  assert.not(agents(cluster).some(agent => agent.version === version))
  await during('tunlinkd upgraded', async () => {
    kubectl([flag, namespace, 'set', 'image', name, `tunlinkd=${newer}`])
    rollout()
    await eventually('the image is the newer one', () => daemons(cluster).every(daemon => daemon.image === newer), 30)
    await eventually(`the agents are of ${version}`, () => agents(cluster).every(agent => agent.version === version), 60)
  })
})

test('a transfer between nodes outlives their agents, killed', async cluster => {
  await during('agents killed', async () => {
    assert.is(killAgents(cluster), 2)
    await eventually('agents answer again', () => cluster.nodes.every(node => node.succeeds(EXECUTABLE, 'status')), 30)
  })
})

test('a transfer between nodes outlives containerd, killed and started again', async cluster => {
  await during('containerd killed', () => killContainerd(cluster))
  await cluster.ready()
})

test('a transfer between nodes outlives tunlink deleted, its agents killed and not started again', async cluster => {
  await during('tunlink deleted', async () => remove())
  await during('agents killed and not started again', async () => {
    killAgents(cluster)
    await sleep(3_000)
    assert.equal(cluster.nodes.flatMap(agentPids), [])
  })
})

test('a transfer between nodes outlives tunlink applied again', async cluster => {
  await during('tunlink applied again', async () => {
    await apply(cluster)
    await eventually('agents answer', () => cluster.nodes.every(node => node.succeeds(EXECUTABLE, 'status')), 30)
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
  await killContainerd(cluster)
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
