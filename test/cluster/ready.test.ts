/** From no network at all: apply, pods everywhere reach each other, and back to a node as it was. */
import * as assert from 'uvu/assert'
import { eventually } from '../support.ts'
import { kubectl, kubectlTry } from './control-plane.ts'
import { deploy, http, podsOf, undeploy } from './pods.ts'
import { unreachable } from './reach.ts'
import { measured, scenarios } from './scenario.ts'
import { apply, daemons, nothingLeft, snapshot, uninstall } from './tunlink.ts'

const test = scenarios('apply, reach, uninstall')
let before: Record<string, string[]>[]

test('before, the nodes are NotReady for want of a network', async cluster => {
  before = cluster.nodes.map(snapshot)
  for (const node of cluster.nodes) {
    const { ready, message } = cluster.readiness(node)
    assert.is(ready, false)
    assert.match(message, /cni plugin not initialized/)
  }
})

test('kubectl apply makes both nodes Ready', async cluster => {
  measured(`kubectl apply until both nodes are Ready: ${((await apply(cluster)) / 1000).toFixed(1)} s`)
  for (const { status } of JSON.parse(kubectl(['get', 'nodes', '-o', 'json'])).items)
    assert.is(status.conditions.find(({ type }: { type: string }) => type === 'NetworkUnavailable')?.status, 'False')
})

test('six pods: addresses of their nodes, kubelet probes pass, all reach all, nodes, API server', async cluster => {
  const { pods, took } = await deploy(cluster, { name: 'web', replicas: 6 })
  measured(`6 pods applied until probed Ready: ${(took / 1000).toFixed(1)} s`)
  assert.is(new Set(pods.map(({ ip }) => ip)).size, 6)
  for (const node of cluster.nodes) {
    const prefix = cluster.podCIDR(node).replace(/0\/24$/, '')
    const here = pods.filter(pod => pod.node === node)
    assert.is(here.length, 3)
    for (const { ip } of here) assert.ok(ip.startsWith(prefix), `${ip} is of ${prefix}`)
  }
  assert.equal(unreachable(cluster, pods), [])
})

test('kubectl logs and exec work', async cluster => {
  for (const { name } of podsOf(cluster, 'web')) {
    assert.is(kubectl(['exec', name, '--', 'hostname']).trim(), name)
    kubectl(['logs', name])
  }
  await undeploy(cluster, 'web')
})

test('a hostPort leads to its pod, from the other node and from the node itself', async cluster => {
  const [here, there] = cluster.nodes
  const { pods } = await deploy(cluster, { name: 'port', replicas: 1, hostPort: 8088, node: here.name })
  assert.is(http(there.command(), here.address, 8088), pods[0]!.name)
  assert.is(http(here.command(), here.address, 8088), pods[0]!.name)
  await undeploy(cluster, 'port')
  await eventually('the port is closed', () => http(there.command(), here.address, 8088) === '')
})

test('the ServiceAccount may read nodes, write events and its node condition, and nothing else', async cluster => {
  const { namespace, serviceAccount } = daemons(cluster)[0]!
  const as = ['--as', `system:serviceaccount:${namespace}:${serviceAccount}`]
  const lines = kubectl(['auth', 'can-i', '--list', ...as, '-n', namespace])
    .trim()
    .split('\n')
    .slice(1)
  const rules = lines.map(line => /^(\S*)\s+\[(.*?)\]\s+\[(.*?)\]\s+\[(.*?)\]/.exec(line)!).filter(([, resource]) => resource !== '')
  const granted = Object.fromEntries(rules.map(([, resource, , , verbs]) => [resource, verbs!.split(' ').sort().join(' ')]))
  measured(`the ServiceAccount's rules: ${JSON.stringify(granted)}`)
  for (const name of ['selfsubjectaccessreviews.authorization.k8s.io', 'selfsubjectrulesreviews.authorization.k8s.io']) delete granted[name]
  assert.equal(Object.keys(granted).sort(), ['events', 'nodes', 'nodes/status'])
  assert.is(granted.nodes, 'get list watch')
  assert.is(granted['nodes/status'], 'patch')
  assert.match(granted.events!, /^create( patch)?$/)
  for (const denied of ['list pods', 'get secrets', 'delete nodes', 'patch nodes', 'create pods/exec', 'get configmaps'])
    assert.is(kubectlTry('auth', 'can-i', ...denied.split(' '), ...as, '-n', namespace).stdout.trim(), 'no', denied)
})

test('uninstalled, the nodes are as they were', async cluster => {
  await nothingLeft(cluster)
  await uninstall(cluster)
  cluster.nodes.forEach((node, index) => {
    assert.equal(snapshot(node), before[index])
  })
})

test.run()
