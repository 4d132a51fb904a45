/** The API server away for a minute; a node that leaves the cluster and comes back. */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import * as assert from 'uvu/assert'
import { eventually } from '../support.ts'
import { apiServerKill, apiServerStart, kubectl } from './control-plane.ts'
import type { Machine } from './machine.ts'
import { deploy, type Pod, podPings, undeploy } from './pods.ts'
import { unreachable } from './reach.ts'
import { measured, scenarios } from './scenario.ts'
import { Transfer } from './traffic.ts'
import { apply, daemons } from './tunlink.ts'

const OUTAGE_MS = 60_000
const test = scenarios('API server and nodes')
let web: Pod[]
const podOn = (node: Machine) => web.find(pod => pod.node === node)!

/** Addresses on record. */
function addresses(node: Machine): string[] {
  const directory = node.path('/run/tunlink/links')
  const records = readdirSync(directory, { recursive: true, encoding: 'utf8' }).filter(name => name.endsWith('.json'))
  return records.flatMap(name =>
    JSON.parse(readFileSync(`${directory}/${name}`, 'utf8')).pod.addresses.map(({ local }: { local: string }) => local),
  )
}

/** A pod without an API server: the kubelet finds it in a directory. */
function staticPod(node: Machine, name: string): void {
  const container = { name: 'sleep', image: 'localhost/pause:1', imagePullPolicy: 'Never' }
  const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec: { terminationGracePeriodSeconds: 0, containers: [container] } }
  mkdirSync(node.path('/etc/kubernetes/manifests'), { recursive: true })
  writeFileSync(node.path(`/etc/kubernetes/manifests/${name}.json`), JSON.stringify(pod))
}

async function newAddress(node: Machine, before: string[]): Promise<string> {
  await eventually('the static pod has an address', () => addresses(node).length > before.length, 45)
  return addresses(node).find(address => !before.includes(address))!
}

const routes = (node: Machine) => node.ip('route').map(({ dst, gateway }: { dst: string; gateway?: string }) => `${dst} via ${gateway}`)

test('both nodes become Ready, with pods on each', async cluster => {
  await apply(cluster)
  web = (await deploy(cluster, { name: 'web', replicas: 4 })).pods
})

test('the API server away for 60 s: pods stay connected, new ones are made, a killed tunlinkd comes back', async cluster => {
  const [one, two] = cluster.nodes
  const transfer = await Transfer.start(podOn(one), podOn(two), { pauseMs: 20 })
  const killed = daemons(cluster).find(({ node }) => node === two)!
  apiServerKill()
  const ended = Date.now() + OUTAGE_MS
  const before = addresses(one)
  staticPod(one, 'made-during')
  const address = await newAddress(one, before)
  assert.ok(podPings(podOn(two), address), 'a pod made during the outage is reached from the other node')
  process.kill(killed.pid, 'SIGKILL')
  const beforeKilled = addresses(two)
  staticPod(two, 'made-after-kill')
  const second = await newAddress(two, beforeKilled)
  await eventually('a pod made while tunlinkd came back without the API server is reached', () => podPings(podOn(one), second), 30)
  assert.ok(transfer.running, 'the transfer goes on')
  await new Promise(done => setTimeout(done, Math.max(0, ended - Date.now())))
  assert.ok(transfer.running, 'the transfer goes on after 60 s')
  await apiServerStart()
  for (const reached of [address, second]) for (const from of web) assert.ok(podPings(from, reached), `${from.name} reaches ${reached}`)
  const { bytes } = await transfer.finish()
  measured(`API server down 60 s: ${(bytes / 2 ** 20).toFixed(0)} MiB went between the nodes meanwhile`)
  await cluster.ready()
  assert.equal(unreachable(cluster, web), [])
})

test('after the outage a change of the nodes arrives: a deleted node loses its route', async cluster => {
  const [one, two] = cluster.nodes
  const route = `${cluster.podCIDR(two)} via ${two.address}`
  assert.ok(routes(one).includes(route), `${route} is there`)
  for (const node of cluster.nodes) rmSync(node.path('/etc/kubernetes/manifests'), { recursive: true })
  await undeploy(cluster, 'web')
  const started = Date.now()
  kubectl(['delete', 'node', two.name])
  await eventually(`${route} is gone`, () => !routes(one).includes(route), 45)
  measured(`the route of a deleted node gone after ${Date.now() - started} ms`)
})

test('added again, it gets its route back', async cluster => {
  const [one, two] = cluster.nodes
  two.kill('kubelet') // it registers when it starts
  await cluster.registered(two)
  const started = Date.now()
  const route = `${cluster.podCIDR(two)} via ${two.address}`
  await eventually(`${route} is back`, () => routes(one).includes(route), 45)
  measured(`the route of an added node there after ${Date.now() - started} ms`)
  await cluster.ready()
  const { pods } = await deploy(cluster, { name: 'again', replicas: 4 })
  assert.equal(unreachable(cluster, pods), [])
})

test('a removed route is put back, a foreign one left alone', async cluster => {
  const [one, two] = cluster.nodes
  one.run('ip', 'route', 'add', '10.250.0.0/24', 'via', two.address)
  one.run('ip', 'route', 'del', cluster.podCIDR(two))
  await eventually('the route is back', () => routes(one).includes(`${cluster.podCIDR(two)} via ${two.address}`), 20)
  assert.ok(routes(one).includes(`10.250.0.0/24 via ${two.address}`))
})

test.run()
