/**
 * The links themselves: what the kernel has after ADD, as ip(8) shows it, and whether traffic
 * passes.
 */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { EXECUTABLES, eventually, ip, Lab, pings, some } from '../support.ts'

interface Case {
  title: string
  conf: object
  pod: { local: string; address?: string; prefixlen: number }
  /** What answers from the pod. */
  far: string
}

const ipam = (subnet: string, more: object = {}) => ({ type: 'tunlink', subnet, ...more })
const CASES: Case[] = [
  {
    title: '10.66.66.1 peer 10.66.66.2/32',
    conf: { peer: '10.66.66.2', ipam: ipam('10.66.66.1/32') },
    pod: { local: '10.66.66.1', address: '10.66.66.2', prefixlen: 32 },
    far: '10.66.66.2',
  },
  {
    title: '10.66.66.1/24 without a peer',
    conf: {
      addressing: 'subnet',
      ipam: ipam('10.66.66.0/24', { rangeStart: '10.66.66.1', rangeEnd: '10.66.66.1', gateway: '10.66.66.254' }),
    },
    pod: { local: '10.66.66.1', prefixlen: 24 },
    far: '10.66.66.254',
  },
  {
    title: '10.66.66.5/24 with the far end outside of it',
    conf: { addressing: 'subnet', peer: '192.0.2.1', ipam: ipam('10.66.66.0/24', { rangeStart: '10.66.66.5', rangeEnd: '10.66.66.5' }) },
    pod: { local: '10.66.66.5', prefixlen: 24 },
    far: '192.0.2.1',
  },
  {
    title: 'fd66::5/64 with the far end outside of it',
    conf: { addressing: 'subnet', peer: 'fd99::1', ipam: ipam('fd66::/64', { rangeStart: 'fd66::5', rangeEnd: 'fd66::5' }) },
    pod: { local: 'fd66::5', prefixlen: 64 },
    far: 'fd99::1',
  },
  {
    title: 'the /31 pair 10.66.66.2 and 10.66.66.3',
    conf: { addressing: 'subnet', ipam: ipam('10.66.66.2/31', { pair: true }) },
    pod: { local: '10.66.66.2', prefixlen: 31 },
    far: '10.66.66.3',
  },
  {
    title: 'the pair 10.66.66.2 peer 10.66.66.3',
    conf: { ipam: ipam('10.66.66.2/31', { pair: true }) },
    pod: { local: '10.66.66.2', address: '10.66.66.3', prefixlen: 32 },
    far: '10.66.66.3',
  },
  {
    title: '192.0.2.1 peer 198.51.100.1/24',
    conf: { peer: '198.51.100.1/24', ipam: ipam('192.0.2.1/32') },
    pod: { local: '192.0.2.1', address: '198.51.100.1', prefixlen: 24 },
    far: '198.51.100.1',
  },
  {
    title: 'fd66::1 peer fd66::2/128',
    conf: { peer: 'fd66::2', ipam: ipam('fd66::1/128') },
    pod: { local: 'fd66::1', address: 'fd66::2', prefixlen: 128 },
    far: 'fd66::2',
  },
  {
    title: 'fd66::5/64 without a peer',
    conf: { addressing: 'subnet', ipam: ipam('fd66::/64', { rangeStart: 'fd66::5', rangeEnd: 'fd66::5' }) },
    pod: { local: 'fd66::5', prefixlen: 64 },
    far: 'fd66::1',
  },
  {
    title: 'the /127 pair fd66::2 and fd66::3',
    conf: { addressing: 'subnet', ipam: ipam('fd66::2/127', { pair: true }) },
    pod: { local: 'fd66::2', prefixlen: 127 },
    far: 'fd66::3',
  },
  {
    title: 'fd66::1 peer 2001:db8::1/64',
    conf: { peer: '2001:db8::1/64', ipam: ipam('fd66::1/128') },
    pod: { local: 'fd66::1', address: '2001:db8::1', prefixlen: 64 },
    far: '2001:db8::1',
  },
  {
    title: 'the default peer of an address without gateway',
    conf: { ipam: ipam('10.66.66.7/32') },
    pod: { local: '10.66.66.7', address: '169.254.1.1', prefixlen: 32 },
    far: '169.254.1.1',
  },
  {
    title: 'the default IPv6 peer',
    conf: { ipam: ipam('fd66::7/128') },
    pod: { local: 'fd66::7', address: 'fe80::1', prefixlen: 128 },
    far: 'fe80::1%eth0',
  },
]

const test = suite('links')

const RUNS: [string, string, string][] = [
  ...EXECUTABLES.map(([name, executable]) => [`${name}, kernel wire`, executable, 'kernel'] as [string, string, string]),
  ['tunlink, thread wire', EXECUTABLES[0]![1], 'thread'],
]

for (const [name, executable, wire] of RUNS) {
  for (const { title, conf: addressing, pod: expected, far } of wire === 'thread' ? some(CASES, 5) : CASES) {
    const conf = { ...addressing, wire }
    test(`${name}: ${title}`, async () => {
      using lab = new Lab(executable)
      const pod = lab.netns()
      lab.must('ADD', pod, conf)
      const [link] = ip(pod, '-d', 'addr', 'show', 'dev', 'eth0')
      await eventually('the agent holds the TUN', () => ip(pod, 'link', 'show', 'dev', 'eth0')[0].flags.includes('LOWER_UP'))
      for (const flag of ['POINTOPOINT', 'NOARP', 'UP']) assert.ok(link.flags.includes(flag), `${flag} in ${link.flags}`)
      assert.is(link.linkinfo.info_kind, 'tun')
      const found = link.addr_info.map(({ local, address, prefixlen }: { local: string; address?: string; prefixlen: number }) => ({
        local,
        ...(address ? { address } : {}),
        prefixlen,
      }))
      assert.equal(found, [expected])
      const family = expected.local.includes(':') ? '-6' : '-4'
      const [defaultRoute] = ip(pod, family, 'route', 'show', 'default')
      assert.is(defaultRoute.gateway, far.replace('%eth0', ''))
      assert.ok(pings(pod, far), `${far} answers the pod`)
      assert.ok(pings(lab.node, expected.local), 'the pod answers the node')
      lab.must('DEL', pod, conf)
      assert.equal([...lab.links(pod), ...lab.links(lab.node), ...lab.files()], [])
    })
  }
}

test('a peer that is the own address is an address alone, with routes that need no next hop', () => {
  using lab = new Lab()
  const pod = lab.netns()
  const conf = { peer: '10.66.66.1', ipam: ipam('10.66.66.1/32') }
  lab.must('ADD', pod, conf)
  const [link] = ip(pod, 'addr', 'show', 'dev', 'eth0')
  assert.is(link.addr_info[0].local, '10.66.66.1')
  assert.is(link.addr_info[0].address, undefined)
  const [route] = ip(pod, 'route', 'show', 'default')
  assert.is(route.gateway, undefined)
  assert.is(route.dev, 'eth0')
  assert.is(ip(lab.node, 'route', 'get', '10.66.66.1')[0].dev.slice(0, 2), 'tl')
})

test('routes have gateway, mtu, advmss, priority and table; one next hop each', () => {
  using lab = new Lab()
  const pod = lab.netns()
  const routes = [
    { dst: '0.0.0.0/0' },
    { dst: '192.0.2.0/24', gw: '203.0.113.9', mtu: 1300, advmss: 1260, priority: 50, table: 77 },
    { dst: '198.51.100.0/24', scope: 253 },
  ]
  lab.must('ADD', pod, { ipam: { ...lab.conf.ipam, routes } })
  const [route] = ip(pod, 'route', 'show', 'table', '77')
  assert.is(route.dst, '192.0.2.0/24')
  assert.is(route.gateway, '203.0.113.9')
  assert.is(route.metric, 50)
  assert.equal(route.metrics, [{ mtu: 1300, advmss: 1260 }])
  assert.is(route.nexthops, undefined)
  assert.is(ip(pod, 'route', 'show', '198.51.100.0/24')[0].scope, 'link')
})

test('a second default route is code 7 with a hint, and leaves nothing of the second link', () => {
  using lab = new Lab()
  const pod = lab.netns()
  lab.must('ADD', pod)
  const second = { name: 'second', ipam: ipam('10.67.0.0/24') }
  const { status, json } = lab.cni('ADD', pod, second, { CNI_IFNAME: 'net1' })
  assert.equal([status, json.code], [1, 7])
  assert.match(json.details, /"routes": \[\]/)
  assert.equal([lab.links(pod).length, lab.links(lab.node).length], [2, 1])
  lab.must('ADD', pod, { ...second, ipam: ipam('10.67.0.0/24', { routes: [] }) }, { CNI_IFNAME: 'net1' })
})

test('a destination named twice has two next hops', () => {
  using lab = new Lab()
  const pod = lab.netns()
  const routes = [
    { dst: '192.0.2.0/24', gw: '203.0.113.1' },
    { dst: '192.0.2.0/24', gw: '203.0.113.2' },
  ]
  lab.must('ADD', pod, { ipam: { ...lab.conf.ipam, routes } })
  assert.equal(
    ip(pod, 'route', 'show', '192.0.2.0/24')[0].nexthops.map(({ gateway }: { gateway: string }) => gateway),
    ['203.0.113.1', '203.0.113.2'],
  )
})

test.run()
