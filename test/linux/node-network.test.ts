/**
 * The wire format of what joins nodes: routes of our protocol, neighbours, forwarding entries, a
 * VXLAN device, an nftables table.
 */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { decodeNeighbour, fdbReplace, neighbourReplace } from '../../src/linux/neighbour.ts'
import { message, type NetlinkSocket, type Request } from '../../src/linux/netlink.ts'
import { decodeNodeRoute, nodeRouteAdd, nodeRouteDelete } from '../../src/linux/node-route.ts'
import { decodeVxlan, vxlanAdd } from '../../src/linux/vxlan.ts'
import { clusterTransaction, intervals } from '../../src/node/cluster-table.ts'

const test = suite('network between nodes')
const hex = (text: string) => Buffer.from(text.replace(/\s+/g, ''), 'hex')

/** What an operation would send, without the numbers that the socket adds. */
function sent(operation: (netlink: NetlinkSocket) => void): Buffer {
  const bytes: Buffer[] = []
  operation({
    requestBatch: (requests: Request[]) => bytes.push(...requests.map(({ type, flags, body }) => message(type, flags, 1, body))),
  } as unknown as NetlinkSocket)
  return Buffer.concat(bytes)
}
const header = 16

test('nodeRouteAdd() encodes `ip route add 10.244.1.0/24 via 192.0.2.12 dev 2 proto 77`', () => {
  assert.equal(
    sent(netlink => nodeRouteAdd(netlink, { dst: '10.244.1.0/24', gw: '192.0.2.12', index: 2 }, 77)),
    hex(
      '34000000 1800 0006 01000000 00000000   02 18 00 00 fe 4d 00 01 00000000   0800 0100 0af40100   0800 0400 02000000   0800 0500 c000020c',
    ),
  )
})
test('nodeRouteAdd() encodes onlink, and `ip route add unreachable`', () => {
  const onlink = sent(netlink => nodeRouteAdd(netlink, { dst: '10.244.1.0/24', gw: '10.244.1.0', index: 2, onlink: true }, 77))
  assert.equal(onlink.subarray(header, header + 12), hex('02 18 00 00 fe 4d 00 01 04000000'))
  const nowhere = sent(netlink => nodeRouteAdd(netlink, { dst: '10.244.0.0/24' }, 77))
  assert.equal(nowhere.subarray(header), hex('02 18 00 00 fe 4d 00 07 00000000   0800 0100 0af40000'))
})
test('decodeNodeRoute() reads our routes, and takes no other for ours', () => {
  const ours = hex('02 18 00 00 fe 4d 00 01 04000000   0800 0100 0af40100   0800 0500 c000020c   0800 0400 02000000')
  assert.equal(decodeNodeRoute(ours, 77), { dst: '10.244.1.0/24', gw: '192.0.2.12', index: 2, onlink: true })
  const foreign = Buffer.from(ours)
  foreign[5] = 4 // RTPROT_STATIC
  assert.is(decodeNodeRoute(foreign, 77), undefined)
  for (let length = 0; length < 12; length++) assert.throws(() => decodeNodeRoute(ours.subarray(0, length), 77), RangeError)
})
test('nodeRouteDelete() names our protocol, and takes a missing route for deleted', () => {
  const bytes = sent(netlink => nodeRouteDelete(netlink, { dst: '10.244.1.0/24', gw: '192.0.2.12', index: 2 }, 77))
  assert.is(bytes[header + 5], 77)
  const refusing = (code: string) =>
    ({
      requestBatch: () => {
        throw Object.assign(new Error(code), { code })
      },
    }) as unknown as NetlinkSocket
  nodeRouteDelete(refusing('ESRCH'), { dst: '10.244.1.0/24' }, 77)
  assert.throws(() => nodeRouteDelete(refusing('EPERM'), { dst: '10.244.1.0/24' }, 77), /EPERM/)
})
test('neighbourReplace() encodes `ip neighbour replace 10.244.1.0 lladdr 02:74:c0:00:02:0c dev 7 nud permanent`', () => {
  assert.equal(
    sent(netlink => neighbourReplace(netlink, 7, { address: '10.244.1.0', mac: '02:74:c0:00:02:0c' })),
    hex('30000000 1c00 0005 01000000 00000000   02 00 0000 07000000 8000 00 00   0800 0100 0af40100   0a00 0200 0274c000020c 0000'),
  )
})
test('fdbReplace() encodes `bridge fdb replace 02:74:c0:00:02:0c dev 7 dst 192.0.2.12 self permanent`', () => {
  assert.equal(
    sent(netlink => fdbReplace(netlink, 7, { address: '192.0.2.12', mac: '02:74:c0:00:02:0c' })),
    hex('30000000 1c00 0005 01000000 00000000   07 00 0000 07000000 c000 02 00   0a00 0200 0274c000020c 0000   0800 0100 c000020c'),
  )
})
test('decodeNeighbour() leaves out other devices and entries without an address', () => {
  const entry = hex('02 00 0000 07000000 8000 00 00   0800 0100 0af40100   0a00 0200 0274c000020c 0000')
  assert.equal(decodeNeighbour(entry, 7), [{ address: '10.244.1.0', mac: '02:74:c0:00:02:0c' }])
  assert.equal(decodeNeighbour(entry, 8), [])
  assert.equal(decodeNeighbour(entry.subarray(0, 20), 7), [])
})
test('decodeVxlan() reads what vxlanAdd() asks for', () => {
  const device = { name: 'tunlink-vxlan', id: 4096, local: '192.0.2.11', port: 4789, mac: '02:74:c0:00:02:0b', mtu: 1450 }
  assert.equal(decodeVxlan(sent(netlink => vxlanAdd(netlink, device)).subarray(header)), { ...device, index: 0, up: true })
  const six = { ...device, local: '2001:db8::11' }
  assert.is(decodeVxlan(sent(netlink => vxlanAdd(netlink, six)).subarray(header))?.local, '2001:db8::11')
})
test('intervals() are disjoint, ascending and merged; one that reaches the last address has no end', () => {
  const text = (cidrs: string[], family: 4 | 6 = 4) =>
    intervals(cidrs, family).map(({ first, end }) => `${first.toString('hex')}-${end?.toString('hex') ?? ''}`)
  assert.equal(text(['10.244.1.0/24', '10.244.0.0/24', '10.244.1.7/32', 'fd66::/64']), ['0af40000-0af40200'])
  assert.equal(text(['240.0.0.0/4', '10.0.0.0/32']), ['0a000000-0a000001', 'f0000000-'])
  assert.equal(text(['ff00::/8'], 6), [`ff${'00'.repeat(15)}-`])
})
test('clusterTransaction() replaces the table in one transaction, with a rule per pod CIDR', () => {
  const types = clusterTransaction(['10.244.0.0/24', 'fd66::/64'], ['10.244.0.0/16']).map(({ type }) => type & 0xff)
  assert.equal(types, [0x10, 0, 2, 0, 3, 9, 12, 6, 9, 6, 0x11])
})

test.run()
