import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { parseEnvironment } from '../../src/cni/environment.ts'
import { parseNetConf } from '../../src/cni/netconf.ts'
import { hostIfname, planLink } from '../../src/link/plan.ts'

const test = suite('plan')
const attachment = { network: 'net', containerID: 'c1', ifname: 'eth0' }
const environment = parseEnvironment({ CNI_COMMAND: 'ADD', CNI_NETNS: '/n', CNI_CONTAINERID: 'c1', CNI_IFNAME: 'eth0', CNI_PATH: '/x' })
const conf = (more: object = {}) =>
  parseNetConf(JSON.stringify({ cniVersion: '1.1.0', name: 'net', type: 'tunlink', ...more }), environment)
const circumstances = { netns: '/run/netns/p', netnsId: { dev: 4, ino: 7 }, wire: 'kernel' as const, mtu: 1400 }
const lease = {
  ips: [{ address: '10.1.2.5/24', gateway: '10.1.2.1' }, { address: 'fd66::5/64' }],
  routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }],
}

test('the two ends mirror each other, and a plan survives JSON', () => {
  const plan = planLink(conf({ ipMasq: true }), attachment, circumstances, lease)
  assert.equal(plan.pod.addresses, [
    { local: '10.1.2.5', peer: '10.1.2.1', prefix: 32 },
    { local: 'fd66::5', peer: 'fe80::1', prefix: 128 },
  ])
  assert.equal(plan.host?.addresses, [
    { local: '10.1.2.1', peer: '10.1.2.5', prefix: 32 },
    { local: 'fe80::1', peer: 'fd66::5', prefix: 128 },
  ])
  assert.equal(
    plan.pod.routes.map(({ dst, gw }) => `${dst} ${gw}`),
    ['0.0.0.0/0 10.1.2.1', '::/0 fe80::1'],
  )
  assert.equal(plan.masquerade, ['10.1.2.5', 'fd66::5'])
  assert.equal([plan.mtu, plan.wire, plan.version], [1400, 'kernel', 2])
  assert.equal(JSON.parse(JSON.stringify(plan)), plan)
})
test('a configured peer is taken for its family only', () => {
  const plan = planLink(conf({ peer: ['198.51.100.1/24', 'fd99::1'] }), attachment, circumstances, lease)
  assert.equal(
    plan.pod.addresses.map(({ peer, prefix }) => `${peer}/${prefix}`),
    ['198.51.100.1/24', 'fd99::1/128'],
  )
})
test('an annotated peer of a family that the link does not have is refused, a configured one is not', () => {
  const [v4] = lease.ips
  const only4 = { ips: [v4!], routes: [] }
  const annotations = { 'tunlink.dev/peer': '198.51.100.1,fd99::1' }
  const runtimeConfig = { 'io.kubernetes.cri.pod-annotations': annotations }
  const annotated = conf({ farEnd: 'attach', owner: 1, annotations: ['peer'], runtimeConfig })
  assert.throws(
    () => planLink(annotated, attachment, circumstances, only4),
    /annotation "tunlink.dev\/peer" has fd99::1, but the link has no IPv6 address/,
  )
  assert.is(planLink(annotated, attachment, circumstances, lease).pod.addresses[1]!.peer, 'fd99::1')
  planLink(conf({ peer: ['198.51.100.1', 'fd99::1'] }), attachment, circumstances, only4)
})
test('addressing "subnet" keeps the prefix and has no peer in the pod', () => {
  const plan = planLink(conf({ addressing: 'subnet' }), attachment, circumstances, lease)
  assert.equal(plan.pod.addresses[0], { local: '10.1.2.5', prefix: 24 })
  assert.equal(plan.host?.addresses[0], { local: '10.1.2.1', peer: '10.1.2.5', prefix: 32 })
})
test('a far end outside of the pod’s subnet has a route of its own, one inside has none', () => {
  const outside = planLink(conf({ addressing: 'subnet', peer: ['192.0.2.1', 'fd99::1'] }), attachment, circumstances, lease)
  assert.equal(
    outside.pod.routes.filter(({ gw }) => gw === undefined),
    [
      { dst: '192.0.2.1/32', scope: 253 },
      { dst: 'fd99::1/128', scope: 253 },
    ],
  )
  const inside = planLink(conf({ addressing: 'subnet', peer: '10.1.2.9' }), attachment, circumstances, {
    ...lease,
    ips: [lease.ips[0]!],
    routes: [],
  })
  assert.equal(inside.pod.routes, [])
})
test('attach has one end', () => {
  const plan = planLink(conf({ farEnd: 'attach', owner: 1000 }), attachment, circumstances, lease)
  assert.equal([plan.host, plan.owner, plan.group], [undefined, 1000, undefined])
})
test('an MTU below 1280 with IPv6 is named by where it was found', () => {
  const annotations = { 'io.kubernetes.cri.pod-annotations': { 'tunlink.dev/mtu': '1279' } }
  assert.throws(
    () => planLink(conf({ mtu: 1279 }), attachment, { ...circumstances, mtu: 1279 }, lease),
    /"mtu" must be at least 1280 with IPv6/,
  )
  assert.throws(
    () => planLink(conf({ mtu: 1500, runtimeConfig: annotations }), attachment, { ...circumstances, mtu: 1279 }, lease),
    /annotation "tunlink.dev\/mtu" must be at least 1280 with IPv6 addresses, not 1279/,
  )
})
test('hostIfname() fits IFNAMSIZ, and differs when any part does', () => {
  const names = [
    attachment,
    { ...attachment, network: 'n' },
    { ...attachment, ifname: 'eth1' },
    { network: 'net', containerID: 'c1\0eth', ifname: '0' },
  ].map(hostIfname)
  for (const name of names) assert.match(name, /^tl[0-9a-f]{13}$/)
  assert.is(new Set(names).size, names.length)
})
test('no address, and a lease that is none, are configuration errors', () => {
  assert.throws(() => planLink(conf(), attachment, circumstances, { ips: [], routes: [] }), /no IP address/)
  assert.throws(
    () => planLink(conf(), attachment, circumstances, { ips: [{ address: '10.0.0.1' }], routes: [] }),
    /"10.0.0.1", which is not an address with a prefix/,
  )
})

test.run()
