/** Flags, ConfigMap, conflist: what an operator writes, and what a runtime reads. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { Backoff } from '../../src/node/backoff.ts'
import { nodeConditions } from '../../src/node/conditions.ts'
import { parseConfig } from '../../src/node/config.ts'
import { conflist, dataDirOf } from '../../src/node/conflist.ts'
import { help, parseOptions } from '../../src/node/options.ts'

const test = suite('configuration of a node')
const VERSIONS = ['0.3.1', '0.4.0', '1.0.0', '1.1.0']
const input = { config: parseConfig(''), podCIDRs: ['10.244.0.0/24', 'fd66::/64'], mtu: 1450, portmap: true, versions: VERSIONS }

test('without anything, all has its default', () => {
  assert.equal(parseConfig(''), { ipMasq: true, dataDir: '/run/tunlink', plugins: [] })
})
test('null is an absent key, and "mtu": 0 the default', () => {
  assert.equal(
    parseConfig('{"mtu":null,"peer":null,"wire":null,"annotations":null,"ipMasq":null,"dataDir":null,"plugins":null,"other":null}'),
    parseConfig(''),
  )
  assert.equal(parseConfig('{"mtu":0}'), parseConfig(''))
})
for (const [text, message] of [
  ['{', /config\.json is not JSON/],
  ['[]', /must be a JSON object/],
  ['{"mtu": "large"}', /"mtu" must be an integer from 576 to 65535, not "large"/],
  ['{"mtu": 100}', /"mtu" must be an integer from 576/],
  ['{"ipMasq": "yes"}', /"ipMasq" must be true or false, not "yes"/],
  ['{"annotations": "mtu"}', /"annotations" must be a list of strings, not "mtu"/],
  ['{"wire": "fast"}', /"wire" must be "auto" or "kernel" or "thread", not "fast"/],
  ['{"backend": "vxlan"}', /"backend" is no key of config\.json: it has mtu, peer/],
  ['{"mtus": 1400}', /"mtus" is no key of config\.json: did you mean "mtu"\?/],
  ['{"ipmasq": false}', /"ipmasq" is no key of config\.json: did you mean "ipMasq"\?/],
  ['{"MTU": 1400}', /"MTU" is no key of config\.json: did you mean "mtu"\?/],
  ['{"plugins": {}}', /"plugins" must be a list/],
  ['{"plugins": [{"name": "x"}]}', /each with a "type"/],
  ['{"plugins": [{"type": "../evil"}]}', /each with a "type"/],
] as const)
  test(`${text} is refused`, () => assert.throws(() => parseConfig(text), message))
test('the conflist runs on CNI 1.0.0, offers 1.1.0, has a pool per pod CIDR, and portmap behind', () => {
  const list = JSON.parse(conflist(input))
  assert.is(list.cniVersion, '1.0.0')
  assert.is(list.cniVersions.at(-1), '1.1.0')
  assert.is(list.plugins[0].mtu, 1450)
  assert.is(list.plugins[0].wire, undefined)
  assert.is(list.plugins[0].dataDir, undefined)
  assert.equal(list.plugins[0].ipam.ranges, [[{ subnet: '10.244.0.0/24' }], [{ subnet: 'fd66::/64' }]])
  assert.equal(list.plugins[1], { type: 'portmap', capabilities: { portMappings: true } })
})
test('the wire is as configured', () => {
  for (const wire of ['auto', 'kernel', 'thread'])
    assert.is(JSON.parse(conflist({ ...input, config: parseConfig(`{"wire": "${wire}"}`) })).plugins[0].wire, wire)
})
test('what pods may set by annotation is as configured', () => {
  const plugin = (text: string) => JSON.parse(conflist({ ...input, config: parseConfig(text) })).plugins[0]
  assert.is(plugin('').annotations, undefined)
  assert.equal(plugin('{"annotations": ["addresses"]}').annotations, ['addresses'])
  assert.throws(() => plugin('{"annotations": ["mac"]}'), /"annotations" must be a list of mtu, .*, not \["mac"\]/)
})
const EXTRA = {
  type: 'tunlink',
  ifName: 'tun0',
  farEnd: 'attach',
  annotations: ['owner'],
  capabilities: { 'io.kubernetes.cri.pod-annotations': true },
  ipam: { type: 'tunlink', subnet: '10.99.0.0/24' },
}
const listOf = (plugins: { type: string }[], dataDir = '/run/tunlink') =>
  JSON.parse(conflist({ ...input, config: { ...input.config, dataDir, plugins } })).plugins.filter(
    ({ type }: { type: string }) => type === 'tunlink',
  )

test('an extra interface in "plugins" has the directory of the network, and an agent that stays', () => {
  assert.equal(listOf([EXTRA])[1], { ...EXTRA, agent: { idleSeconds: 0 } })
  assert.is(listOf([EXTRA], '/srv/tunlink')[1].dataDir, '/srv/tunlink')
  assert.is(listOf([{ ...EXTRA, dataDir: '/srv/tunlink' } as { type: string }], '/srv/tunlink')[1].dataDir, '/srv/tunlink')
  assert.equal(listOf([{ ...EXTRA, agent: { spawn: false } } as { type: string }])[1].agent, { spawn: false })
  assert.is(listOf([EXTRA, { ...EXTRA, ifName: 'tun1' } as { type: string }]).length, 3)
  const routes = [{ dst: '10.100.0.0/16' }, { dst: '0.0.0.0/0', priority: 1000 }]
  assert.equal(listOf([{ ...EXTRA, ipam: { ...EXTRA.ipam, routes } } as { type: string }])[1].ipam.routes, routes)
})
const V6 = { type: 'tunlink', ranges: [[{ subnet: 'fd99::/64' }]] }
for (const [keys, message] of [
  [{ annotations: [] }, /: "farEnd" is "attach" without "owner" and "group"/],
  [{ ifName: undefined }, /: "ifName" must be a name for an extra interface .*, but is missing/],
  [{ ifName: 'eth0' }, /: "ifName" must be .* not "eth0"/],
  [{ ifName: 'lo' }, /: "ifName" must be .* not "lo"/],
  [{ ifName: 'a/b' }, /: interface name contains \//],
  [{ ipam: { type: 'tunlink', subnet: '10.99.0.0/33' } }, /: "ipam.subnet" must be a network .* not "10.99.0.0\/33"/],
  [{ ipam: undefined }, /: "ipam" must be an object with a "type", but is missing/],
  [{ ipam: {} }, /: "ipam" must be an object with a "type", but is missing/],
  [{ ipam: V6, mtu: 600 }, /: "mtu" must be at least 1280 with IPv6 ranges in "ipam", not 600/],
  [
    { ipam: { type: 'tunlink', subnet: '10.244.0.0/24' } },
    /: "ipam" must be without addresses of the pod CIDR 10.244.0.0\/24, not "10.244.0.1-/,
  ],
  [{ ipam: { type: 'tunlink', subnet: '10.244.0.0/16' } }, /: "ipam" must be without addresses of the pod CIDR/],
  [
    { ipam: { type: 'tunlink', subnet: '10.99.0.0/24', routes: [{ dst: '0.0.0.0/0' }] } },
    /: "ipam.routes" must be without a second default route of a family, .* not \[{"dst":"0.0.0.0\/0"}\]/,
  ],
  [{ dataDir: '/srv/other' }, /: "dataDir" must be "\/run\/tunlink", .* not "\/srv\/other"/],
  [{ capabilities: undefined }, /: "capabilities" must be {"io.kubernetes.cri.pod-annotations": true} .*, but is missing/],
  [{ capabilities: { 'io.kubernetes.cri.pod-annotations': false } }, /: "capabilities" must be .*, not {/],
] as [object, RegExp][])
  test(`an extra interface is refused before any pod meets it: ${JSON.stringify(keys, (_, value) => value ?? null)}`, () => {
    const whole = new RegExp(`^plugins\\[1\\]${message.source}`)
    assert.throws(
      () => listOf([{ type: 'tuning' }, { ...EXTRA, ...keys }]),
      (error: Error) => whole.test(error.message) || assert.match(error.message, whole),
    )
  })
test('two extra interfaces cannot have one name', () => {
  assert.throws(() => listOf([EXTRA, EXTRA]), /^plugins\[1\]: "ifName" must be .* \(lo, eth0, tun0\), not "tun0"/)
})
test('versions are those that all know; the plain one is 1.0.0 or the highest below', () => {
  const list = (...versions: string[]) => JSON.parse(conflist({ ...input, versions }))
  assert.equal(list('0.3.1', '0.4.0').cniVersions, ['0.3.1', '0.4.0'])
  assert.is(list('0.3.1', '0.4.0').cniVersion, '0.4.0')
  assert.is(list('0.4.0', '1.0.0', '1.1.0').cniVersion, '1.0.0')
  assert.throws(() => list('1.1.0'), /no version of CNI up to 1\.0\.0 in common/)
})
test('extra plugins come last, and one’s own portmap replaces ours', () => {
  const types = (plugins: { type: string }[], portmap = true) =>
    JSON.parse(conflist({ ...input, portmap, config: { ...input.config, plugins } })).plugins.map(({ type }: { type: string }) => type)
  assert.equal(types([{ type: 'bandwidth' }]), ['tunlink', 'portmap', 'bandwidth'])
  assert.equal(types([{ type: 'portmap' }]), ['tunlink', 'portmap'])
  assert.equal(types([], false), ['tunlink'])
})
test('what the plugin would refuse is refused here', () => {
  const { config } = input
  assert.throws(() => conflist({ ...input, config: { ...config, peer: 'nobody' } }), /"peer" must be an address.*"nobody"/)
  assert.throws(() => conflist({ ...input, config: { ...config, dataDir: 'relative' } }), /"dataDir" must be an absolute path/)
  assert.throws(() => conflist({ ...input, mtu: 1000 }), /"mtu" must be at least 1280 with IPv6 pod CIDRs, not 1000/)
})
test('dataDirOf() reads an installed conflist, and no other text', () => {
  assert.is(dataDirOf(conflist({ ...input, config: { ...input.config, dataDir: '/srv/tunlink' } })), '/srv/tunlink')
  for (const text of [conflist(input), undefined, '', '{', '{}', '[]']) assert.is(dataDirOf(text), undefined)
})
test('parseOptions() takes flags, then environment, then defaults', () => {
  const env = { NODE_NAME: 'n1', TUNLINK_BACKEND: 'vxlan', TUNLINK_VXLAN_ID: '7' }
  const options = parseOptions(['--vxlan-id', '9'], env, '/usr/local/bin/tunlinkd.cjs')
  assert.is(options.nodeName, 'n1')
  assert.is(options.backend, 'vxlan')
  assert.is(options.vxlanId, 9)
  assert.is(options.vxlanPort, 4789)
  assert.is(options.netTunDevices, 0, 'no device plugin unless asked')
  assert.is(options.executable, '/usr/local/bin/tunlink')
  assert.is(parseOptions(['uninstall'], {}).command, 'uninstall')
})
for (const [argv, message] of [
  [[], /--node-name or NODE_NAME/],
  [['--backend', 'bgp'], /--backend must be host-gw or vxlan or none, not "bgp"/],
  [['--vxlan-id', '16777216'], /--vxlan-id must be an integer from 1 to 16777215, not "16777216"/],
  [['--masquerade', 'no'], /--masquerade must be true or false, not "no"/],
  [['install'], /Unknown command "install"/],
  [['--net-tun-devices', '10001'], /--net-tun-devices must be an integer from 0 to 10000, not "10001"/],
  [['--nod', 'n1'], /--nod/],
] as const)
  test(`tunlinkd ${argv.join(' ')} is refused`, () => assert.throws(() => parseOptions([...argv], {}), message))
test('help() names every flag', () => {
  for (const flag of ['--node-name', '--kubeconfig', '--backend', '--vxlan-tx-checksum', '--metrics-bind-address'])
    assert.ok(help('1').includes(flag), flag)
})
test('Backoff doubles to its limit, with jitter of half, and starts again after reset()', () => {
  const backoff = new Backoff(1000, 4000)
  assert.equal(
    [0, 0, 0, 0].map(random => backoff.next(random)),
    [500, 1000, 2000, 2000],
  )
  assert.is(backoff.next(1), 4000)
  backoff.reset()
  assert.is(backoff.next(1), 1000)
})
test('nodeConditions() clears NetworkUnavailable, and names at most five nodes out of reach', () => {
  const own = { name: 'n1', podCIDRs: [], internalIPs: [] }
  const refused = Array.from({ length: 7 }, (_, index) => ({ node: `n${index}`, reason: 'far' }))
  const [network, routes] = nodeConditions(own, 'host-gw', { wanted: 7, installed: 0, changed: 0, refused })
  assert.is(`${network!.type} ${network!.status}`, 'NetworkUnavailable False')
  assert.is(`${routes!.type} ${routes!.status}`, 'TunlinkRoutesReady False')
  assert.match(routes!.message, /n4: far; and 2 more$/)
  assert.is(nodeConditions(own, 'vxlan', undefined)[1]!.status, 'True')
})

test.run()
