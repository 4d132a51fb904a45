/**
 * /dev/net/tun by a resource of the real kubelet: a pod that asks for it, as user 1000 without
 * capabilities, attaches to its TUN device; a pod that does not ask cannot open it.
 */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import * as assert from 'uvu/assert'
import { eventually } from '../support.ts'
import type { Cluster } from './cluster.ts'
import { kubectl, kubectlTry } from './control-plane.ts'
import type { Machine } from './machine.ts'
import { measured, scenarios } from './scenario.ts'
import { apply, daemons, nothingLeft, remove } from './tunlink.ts'

const test = scenarios('net-tun')
const RESOURCE = 'tunlink.dev/net-tun'
/** Behind the cluster's network: a TUN in each pod that user 1000 may attach to. */
const VPN = {
  type: 'tunlink',
  ifName: 'vpn0',
  farEnd: 'attach',
  owner: 1000,
  ipam: { type: 'tunlink', pair: true, subnet: '198.51.100.0/24', routes: [] },
}

/** Run in the pod by tunlink's image, which holds Bun: attaches, and prints who sent a packet. */
const ATTACH = `
const { dlopen, ptr } = require('bun:ffi')
const { openSync, readSync } = require('node:fs')
const { symbols } = dlopen('libc.so.6', { ioctl: { args: ['i32', 'u64', 'ptr'], returns: 'i32' } })
const fd = openSync('/dev/net/tun', 'r+')
const ifreq = Buffer.alloc(40)
ifreq.write('vpn0')
ifreq.writeUInt16LE(0x1001, 16) // IFF_TUN | IFF_NO_PI
console.log('uid', process.getuid(), 'TUNSETIFF', symbols.ioctl(fd, 0x400454ca, ptr(ifreq)))
const packet = Buffer.alloc(2000)
for (;;) {
  readSync(fd, packet)
  if (packet[0] >> 4 === 4) console.log('packet to', packet.subarray(16, 20).join('.'))
}`

/** Applies a pod that runs ATTACH by the image of the cluster's tunlinkd. */
function applyPod(cluster: Cluster, name: string, asks: boolean): void {
  const container = {
    name: 'vpn',
    image: daemons(cluster)[0]!.image,
    imagePullPolicy: 'Never',
    command: ['/usr/local/bin/tunlink', '-e', ATTACH],
    securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
    ...(asks && { resources: { limits: { [RESOURCE]: '1' } } }),
  }
  const securityContext = { runAsUser: 1000, runAsGroup: 1000, runAsNonRoot: true }
  const spec = { restartPolicy: 'Never', terminationGracePeriodSeconds: 0, securityContext, containers: [container] }
  kubectl(['apply', '-f', '-'], JSON.stringify({ apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec }))
}

const status = (name: string) => JSON.parse(kubectl(['get', 'pod', name, '-o', 'json'])).status
/** Empty while its kubelet does not answer. */
const logs = (name: string, namespace = 'default') => kubectlTry('-n', namespace, 'logs', name).stdout
const allocatable = (node: Machine): string =>
  JSON.parse(kubectl(['get', 'node', node.name, '-o', 'json'])).status.allocatable[RESOURCE] ?? 'none'
/** As the API prints numbers: 1000 is "1k". */
const everywhere = (cluster: Cluster, count: string) => cluster.nodes.every(node => allocatable(node) === count)

test('without the overlay no node offers the resource', async cluster => {
  await apply(cluster)
  assert.ok(everywhere(cluster, 'none'))
})

test('the overlay net-tun: each node offers 1000', async cluster => {
  await apply(cluster, 'net-tun')
  const config = JSON.stringify({ data: { 'config.json': JSON.stringify({ plugins: [VPN] }) } })
  kubectl(['-n', 'tunlink-system', 'patch', 'configmap', 'tunlink-config', '-p', config])
  await eventually('the nodes offer it', () => everywhere(cluster, '1k'), 30)
  const chained = (node: Machine) => readFileSync(node.path('/etc/cni/net.d/10-tunlink.conflist'), 'utf8').includes('vpn0')
  await eventually('the conflists have the second network', () => cluster.nodes.every(chained), 120)
})

test('a pod that asks for it attaches to its TUN, as user 1000 without capabilities, and gets a packet', async cluster => {
  applyPod(cluster, 'asks', true)
  await eventually('the program is attached', () => logs('asks').includes('uid 1000 TUNSETIFF 0'), 60)
  const node = cluster.nodes.find(({ address }) => address === status('asks').hostIP)!
  const pid = node.run('pgrep', '-n', '-f', 'TUNSETIFF').trim()
  const inside = (...command: string[]) => ['-t', pid, '-n', '--', ...command]
  const capabilities = /^CapEff:\s*(\w+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]
  assert.is(Number.parseInt(capabilities!, 16), 0)
  const [{ addr_info }] = JSON.parse(node.run('nsenter', ...inside('ip', '-j', 'address', 'show', 'dev', 'vpn0')))
  const peer: string = addr_info[0].address
  spawnSync(...node.command('nsenter', ...inside('ping', '-c', '1', '-W', '1', peer)))
  await eventually('the program has the packet', () => logs('asks').includes(`packet to ${peer}`), 20)
  measured(`user 1000, no capabilities: attached to vpn0 and got a packet to ${peer}`)
})

test('a pod that does not ask cannot open /dev/net/tun', async cluster => {
  applyPod(cluster, 'does-not', false)
  await eventually('the program has failed', () => status('does-not').phase === 'Failed', 60)
  assert.match(logs('does-not'), /ENOENT.*\/dev\/net\/tun/)
})

test('a kubelet killed and started again gets the devices again, and the pod goes on', async cluster => {
  const registered = () =>
    daemons(cluster).flatMap(({ namespace, name }) => logs(name, namespace).match(/device plugin registered/g) ?? []).length
  const [before, { containerID }] = [registered(), status('asks').containerStatuses[0]]
  for (const node of cluster.nodes) node.kill('kubelet')
  await eventually('both are registered again', () => registered() === before + 2, 60)
  await eventually('the nodes offer it', () => everywhere(cluster, '1k'), 60)
  await cluster.ready()
  const { phase, containerStatuses } = status('asks')
  assert.equal([phase, containerStatuses[0].containerID], ['Running', containerID])
  applyPod(cluster, 'later', true)
  await eventually('another pod attaches', () => logs('later').includes('TUNSETIFF 0'), 60)
})

test('without tunlinkd the kubelet gives it to no pod', async cluster => {
  kubectl(['delete', 'pod', 'asks', 'does-not', 'later', '--now'])
  await nothingLeft(cluster)
  remove()
  await eventually('the nodes offer none', () => everywhere(cluster, '0'), 60)
})

test.run()
