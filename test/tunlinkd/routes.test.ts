/** Which routes a node should have, without a kernel. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { inside } from '../../src/node/masquerade.ts'
import { type NodeInfo, nodeInfo } from '../../src/node/node-info.ts'
import { difference, routeKey, vtepMac, wantedByHostGw, wantedByVxlan } from '../../src/node/routes.ts'

const test = suite('routes between nodes')

const node = (name: string, podCIDRs: string[], internalIPs: string[]): NodeInfo => ({ name, podCIDRs, internalIPs })
const n1 = node('n1', ['10.244.0.0/24', 'fd66:0:0:1::/64'], ['192.0.2.11', '2001:db8::11'])
const n2 = node('n2', ['10.244.1.0/24', 'fd66:0:0:2::/64'], ['192.0.2.12', '2001:db8::12'])
const far = node('n3', ['10.244.2.0/24'], ['198.51.100.13'])
const OWN = [{ dst: '10.244.0.0/24' }, { dst: 'fd66:0:0:1::/64' }]
const link = (address: string) =>
  address.startsWith('198.') ? { index: 2, gw: '192.0.2.1' } : address.startsWith('203.') ? undefined : { index: 2 }

test('host-gw: both families via the InternalIP of theirs, and own pod CIDRs unreachable', () => {
  const { routes, refused, fdb, neighbours } = wantedByHostGw([n1, n2], n1, link)
  assert.equal(routes, [
    ...OWN,
    { dst: '10.244.1.0/24', gw: '192.0.2.12', index: 2 },
    { dst: 'fd66:0:0:2::/64', gw: '2001:db8::12', index: 2 },
  ])
  assert.equal([refused, fdb, neighbours], [[], [], []])
})
test('host-gw: a node behind a router is refused, with the router and what to do', () => {
  const { routes, refused } = wantedByHostGw([n1, far], n1, link)
  assert.equal(routes, OWN)
  assert.is(refused.length, 1)
  assert.is(refused[0]!.node, 'n3')
  assert.match(refused[0]!.reason, /198\.51\.100\.13 is not on a link shared .*behind 192\.0\.2\.1.*--backend vxlan/)
})
test('host-gw: a node out of reach, or without an InternalIP of the family, is refused', () => {
  const { refused } = wantedByHostGw([node('a', ['10.1.0.0/24'], ['203.0.113.1']), node('b', ['fd77::/64'], ['192.0.2.14'])], n1, link)
  assert.equal(
    refused.map(({ node, reason }) => `${node}: ${reason}`),
    ['a: no route leads to its InternalIP 203.0.113.1', 'b: pod CIDR fd77::/64 has no next hop: the node has no IPv6 InternalIP'],
  )
})
test('of two nodes with one pod CIDR, the first by name has it, and never the own', () => {
  const { routes, refused } = wantedByHostGw(
    [node('z', ['10.244.1.0/24'], ['192.0.2.15']), n2, node('c', ['10.244.0.0/24'], ['192.0.2.16'])],
    n1,
    link,
  )
  assert.equal(
    routes.filter(({ dst }) => dst === '10.244.1.0/24').map(({ gw }) => gw),
    ['192.0.2.12'],
  )
  assert.equal(
    refused.map(({ node }) => node),
    ['c', 'z'],
  )
  assert.match(refused[0]!.reason, /pod CIDR 10\.244\.0\.0\/24 is that of n1 too/)
})
test('a node without a pod CIDR has no route, and is no trouble', () => {
  assert.equal(wantedByHostGw([node('new', [], ['192.0.2.17'])], n1, link), { routes: OWN, neighbours: [], fdb: [], refused: [] })
})
test('vxlan: a route, a next hop and a forwarding entry for each node, whatever lies between', () => {
  const { routes, neighbours, fdb, refused } = wantedByVxlan([n1, n2, far], n1, 7)
  const mac = '02:74:c0:00:02:0c'
  assert.equal(routes, [
    ...OWN,
    { dst: '10.244.1.0/24', gw: '10.244.1.0', index: 7, onlink: true },
    { dst: 'fd66:0:0:2::/64', gw: 'fd66:0:0:2::', index: 7, onlink: true },
    { dst: '10.244.2.0/24', gw: '10.244.2.0', index: 7, onlink: true },
  ])
  assert.equal(neighbours.slice(0, 2), [
    { mac, address: '10.244.1.0' },
    { mac, address: 'fd66:0:0:2::' },
  ])
  assert.equal(fdb, [
    { mac, address: '192.0.2.12' },
    { mac: '02:74:c6:33:64:0d', address: '198.51.100.13' },
  ])
  assert.equal(refused, [])
})
test('vxlan: a node without an InternalIP of the underlay is refused', () => {
  const { refused } = wantedByVxlan([node('six', ['10.9.0.0/24'], ['2001:db8::9'])], n1, 7)
  assert.match(refused[0]!.reason, /no IPv4 InternalIP/)
})
test('vtepMac() is a local unicast address, and tells IPv6 nodes apart', () => {
  assert.is(vtepMac('192.0.2.12'), '02:74:c0:00:02:0c')
  assert.match(vtepMac('2001:db8::11'), /^02:74(:[0-9a-f]{2}){4}$/)
  assert.is.not(vtepMac('2001:db8::11'), vtepMac('2001:db8::12'))
})
test('difference() removes what is not wanted, adds what is missing, and leaves the rest', () => {
  const kept = { dst: '10.244.1.0/24', gw: '192.0.2.12', index: 2 }
  const moved = { dst: '10.244.2.0/24', gw: '192.0.2.13', index: 2 }
  const { remove, add } = difference([kept, { ...moved, gw: '192.0.2.14' }], [{ ...kept }, moved], routeKey)
  assert.equal(remove, [moved])
  assert.equal(add, [{ ...moved, gw: '192.0.2.14' }])
})
test('nodeInfo() reads pod CIDRs and InternalIPs in canonical text, and leaves out what is none', () => {
  assert.equal(
    nodeInfo({
      metadata: { name: 'n1' },
      spec: { podCIDR: '10.244.0.0/24', podCIDRs: ['10.244.0.9/24', 'FD66::/64', 'none'] },
      status: {
        addresses: [
          { type: 'Hostname', address: 'n1' },
          { type: 'InternalIP', address: '2001:DB8:0::1' },
          { type: 'InternalIP', address: '192.0.2.11' },
        ],
        conditions: [
          { type: 'NetworkUnavailable', status: 'True' },
          { type: 'Ready', status: 'True' },
        ],
      },
    }),
    {
      name: 'n1',
      podCIDRs: ['10.244.0.0/24', 'fd66::/64'],
      internalIPs: ['2001:db8::1', '192.0.2.11'],
      conditions: { NetworkUnavailable: 'True' },
    },
  )
  assert.equal(nodeInfo({ metadata: { name: 'old' }, spec: { podCIDR: '10.1.0.0/24' } }).podCIDRs, ['10.1.0.0/24'])
  assert.equal(nodeInfo({}), { name: '', podCIDRs: [], internalIPs: [] })
})
test('inside() has pods, multicast and link-local, and nodes with host-gw only', () => {
  const cidrs = inside([n1, far], 'host-gw')
  for (const cidr of ['10.244.0.0/24', '10.244.2.0/24', '192.0.2.11/32', '2001:db8::11/128', '224.0.0.0/4', 'fe80::/10'])
    assert.ok(cidrs.includes(cidr), cidr)
  assert.not(inside([n1, far], 'vxlan').includes('192.0.2.11/32'))
})

test.run()
