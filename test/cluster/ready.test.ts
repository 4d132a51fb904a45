/**
 * From no network at all: apply, pods everywhere reach each other, and back to a node as it was.
 */
import { readFileSync } from 'node:fs'
import * as assert from 'uvu/assert'
import { eventually } from '../support.ts'
import { kubectl, kubectlTry } from './control-plane.ts'
import { deploy, http, inPod, podsOf, undeploy } from './pods.ts'
import { unreachable } from './reach.ts'
import { measured, scenarios } from './scenario.ts'
import { apply, daemons, events, nothingLeft, SELECTOR, snapshot, uninstall } from './tunlink.ts'

const test = scenarios('apply, reach, uninstall')
const CONFLIST = '/etc/cni/net.d/10-tunlink.conflist'
const HTTP_GET = 'exec 3<>/dev/tcp/$1/$2; printf "GET $3 HTTP/1.0\\r\\n\\r\\n" >&3; cat <&3'
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

test('the ConfigMap: another MTU reaches new pods; a bad one is told in an event, and the last good one stays', async cluster => {
  configure({ mtu: 1300 })
  const mtus = () => cluster.nodes.map(node => JSON.parse(readFileSync(node.path(CONFLIST), 'utf8')).plugins[0].mtu)
  await eventually('the conflists have it', () => mtus().every(mtu => mtu === 1300), 90)
  const { pods } = await deploy(cluster, { name: 'mtu', replicas: 1 })
  assert.is(JSON.parse(inPod(pods[0]!, 'ip', '-j', 'link', 'show', 'dev', 'eth0'))[0].mtu, 1300)
  await undeploy(cluster, 'mtu')
  configure({ mtu: 'large' })
  await eventually('an event says it', () => events().some(message => /"mtu".*large/.test(message)), 90)
  assert.equal(mtus(), [1300, 1300])
  configure({})
  await eventually('the MTU is that of the nodes again', () => mtus().every(mtu => mtu === 1500), 90)
})

test('/readyz and /metrics, on the node', async cluster => {
  const node = cluster.nodes[0]
  const get = (address: string, port: number, path: string) => node.run('bash', '-c', HTTP_GET, 'get', address, String(port), path)
  assert.match(get('127.0.0.1', 9641, '/readyz'), /^HTTP\/1.1 200/)
  const { pods } = await deploy(cluster, { name: 'counted', replicas: 2 })
  assert.is(pods.length, 2)
  const metrics = get(node.address, 9642, '/metrics')
  for (const line of [
    /^tunlink_links 1$/m,
    /^tunlink_routes_wanted \d+$/m,
    /^tunlink_routes_installed \d+$/m,
    /^tunlink_leases\{family="ipv4",state="used"\} 1$/m,
  ])
    assert.match(metrics, line)
  await undeploy(cluster, 'counted')
})

test('the ServiceAccount may read nodes, write events and its node condition, and nothing else', async cluster => {
  const { namespace, serviceAccount } = daemons(cluster)[0]!
  const as = ['--as', `system:serviceaccount:${namespace}:${serviceAccount}`]
  const lines = kubectl(['auth', 'can-i', '--list', ...as, '-n', 'default'])
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
    assert.is(kubectlTry('auth', 'can-i', ...denied.split(' '), ...as, '-n', 'default').stdout.trim(), 'no', denied)
})

test('uninstalled, the nodes are as they were', async cluster => {
  await nothingLeft(cluster)
  uninstall()
  cluster.nodes.forEach((node, index) => {
    assert.equal(snapshot(node), before[index])
  })
})

/** Sets the ConfigMap's config.json. */
function configure(config: object): void {
  const [map] = JSON.parse(kubectl(['get', 'configmaps', '-A', '-l', SELECTOR, '-o', 'json'])).items
  const patch = JSON.stringify({ data: { 'config.json': JSON.stringify(config) } })
  kubectl(['-n', map.metadata.namespace, 'patch', 'configmap', map.metadata.name, '-p', patch])
}

test.run()
