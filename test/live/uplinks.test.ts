/**
 * What a site has set up for its uplinks stays right: the MTU that packets leave with, the default
 * route by advertisement. Needs root.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { eventually, inside, ip } from '../support.ts'

const test = suite('uplinks')
const node = `tlu-${process.pid}`
const router = `${node}-router`
const REPO = join(import.meta.dirname, '../..')

/** Runs a line of TypeScript with our sources in the node's namespace: what it gives, as JSON. */
function evaluate(imports: string, expression: string) {
  const script = `${imports}; const { NetlinkSocket } = await import('${REPO}/src/linux/netlink.ts'); const node = new NetlinkSocket(); console.log(JSON.stringify(${expression}) ?? 'null')`
  return JSON.parse(inside(node, process.execPath, '--input-type=module', '-e', script))
}
/** What tunlinkd gives pods of a node with this InternalIP. */
const mtuOf = (address: string) =>
  evaluate(
    `const { podMtu } = await import('${REPO}/src/node/program.ts')`,
    `podMtu(node, { name: 'n1', podCIDRs: [], internalIPs: ['${address}'] }, 'host-gw')`,
  )

test.before.each(() => {
  for (const name of [node, router]) execFileSync('ip', ['netns', 'add', name])
  inside(node, 'ip', 'link', 'set', 'lo', 'up')
  for (const [index, mtu] of [9000, 1400].entries()) {
    inside(node, 'ip', 'link', 'add', `up${index}`, 'mtu', String(mtu), 'type', 'veth', 'peer', 'name', `up${index}`, 'netns', router)
    for (const name of [node, router]) inside(name, 'ip', 'link', 'set', `up${index}`, 'up')
    inside(node, 'ip', 'address', 'add', `192.0.${index}.1/24`, 'dev', `up${index}`)
  }
})
test.after.each(() => {
  for (const name of [node, router]) spawnSync('ip', ['netns', 'del', name])
})

test('own address on a device: its MTU', () => {
  inside(node, 'ip', 'route', 'add', 'default', 'via', '192.0.1.2')
  assert.is(mtuOf('192.0.0.1'), 9000)
})
test('own address on lo, and two uplinks: the least of what packets leave by', () => {
  inside(node, 'ip', 'address', 'add', '198.51.100.1/32', 'dev', 'lo')
  inside(node, 'ip', 'route', 'add', 'default', 'nexthop', 'via', '192.0.0.2', 'nexthop', 'via', '192.0.1.2')
  assert.is(mtuOf('198.51.100.1'), 1400)
})
for (const type of ['blackhole', 'unreachable', 'prohibit'])
  test(`a route of type ${type} that covers the probed address hides no default route`, () => {
    inside(node, 'ip', 'address', 'add', '198.51.100.1/32', 'dev', 'lo')
    inside(node, 'ip', 'route', 'add', 'default', 'via', '192.0.1.2')
    inside(node, 'ip', 'route', 'add', type, '1.0.0.0/8')
    assert.is(mtuOf('198.51.100.1'), 1400)
  })
test('a route of its own for the probed address is not taken for the default route', () => {
  inside(node, 'ip', 'address', 'add', '198.51.100.1/32', 'dev', 'lo')
  inside(node, 'ip', 'route', 'add', 'default', 'via', '192.0.1.2')
  inside(node, 'ip', 'route', 'add', '1.1.1.1/32', 'via', '192.0.0.2')
  assert.is(mtuOf('198.51.100.1'), 1400)
})
test('of several default routes, the one with the least metric counts', () => {
  inside(node, 'ip', 'address', 'add', '198.51.100.1/32', 'dev', 'lo')
  inside(node, 'ip', 'route', 'add', 'default', 'via', '192.0.1.2', 'metric', '200')
  inside(node, 'ip', 'route', 'add', 'default', 'via', '192.0.0.2', 'metric', '100')
  inside(node, 'ip', 'route', 'add', 'unreachable', '1.0.0.0/8')
  assert.is(mtuOf('198.51.100.1'), 9000)
})
test('no default route at all: 1500', () => {
  assert.is(mtuOf('198.51.100.1'), 1500)
})

/** MTU of a link whose configuration has none. */
const pluginMtu = () => evaluate(`const { defaultRouteMtu } = await import('${REPO}/src/link/default-mtu.ts')`, 'defaultRouteMtu(node)')
test('the plugin by itself takes the least MTU of equal default routes', () => {
  assert.is(pluginMtu(), 1500)
  inside(node, 'ip', 'address', 'add', '198.51.100.1/32', 'dev', 'lo')
  inside(node, 'ip', 'route', 'add', 'unreachable', '1.0.0.0/8')
  inside(node, 'ip', 'route', 'add', 'default', 'via', '192.0.0.2')
  assert.is(pluginMtu(), 9000)
  inside(node, 'ip', 'route', 'replace', 'default', 'nexthop', 'via', '192.0.0.2', 'nexthop', 'via', '192.0.1.2')
  assert.is(pluginMtu(), 1400)
})
test('a default route by lo says nothing of a network: no link gets its MTU of 65536', () => {
  inside(node, 'ip', 'route', 'add', 'default', 'dev', 'lo')
  assert.is(pluginMtu(), 16_000)
})

/** RFC 4861 section 4.2: a router advertisement, lifetime 1800 s, to all nodes on up0. */
const ADVERTISE = `
import socket, struct
index = socket.if_nametoindex('up0')
s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
s.sendto(struct.pack('!BBHBBHII', 134, 0, 0, 64, 0, 1800, 0, 0), ('ff02::1', 0, 0, index))
`
const hasPython = spawnSync('python3', ['-c', '']).status === 0
const defaultRoutes = () =>
  ip(node, '-6', 'route', 'show', 'default').map(({ protocol, dev }: { protocol: string; dev: string }) => `${dev} ${protocol}`)
const acceptRa = (device: string) => inside(node, 'sysctl', '-n', `net.ipv6.conf.${device}.accept_ra`).trim()
const keep = () =>
  evaluate(`const { keepRouterAdvertisements } = await import('${REPO}/src/link/forwarding.ts')`, 'keepRouterAdvertisements(node)')

;(hasPython ? test : test.skip)(
  'a default route by router advertisement outlives that the node begins to forward (python3 sends it)',
  async () => {
    inside(node, 'sysctl', '-qw', 'net.ipv6.conf.all.forwarding=0', 'net.ipv6.conf.up0.forwarding=0', 'net.ipv6.conf.up0.accept_ra=1')
    const advertised = () => {
      spawnSync('ip', ['netns', 'exec', router, 'python3', '-c', ADVERTISE])
      return defaultRoutes().includes('up0 ra')
    }
    await eventually('the route is there', advertised)
    keep()
    assert.is(acceptRa('up0'), '2')
    inside(node, 'sysctl', '-qw', 'net.ipv6.conf.all.forwarding=1')
    assert.equal(defaultRoutes(), ['up0 ra'])
  },
)
test('keepRouterAdvertisements() leaves alone devices without such a route, and those that a daemon reads advertisements for', () => {
  inside(node, 'sysctl', '-qw', 'net.ipv6.conf.up0.accept_ra=0', 'net.ipv6.conf.up1.accept_ra=1')
  inside(node, 'ip', '-6', 'route', 'add', 'default', 'via', 'fe80::1', 'dev', 'up0', 'proto', 'ra')
  keep()
  assert.equal([acceptRa('up0'), acceptRa('up1')], ['0', '1'])
})

test.run()
