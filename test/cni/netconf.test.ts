/** What each verb reads of a configuration, and what it says of a wrong one. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { parseLease } from '../../src/cni/delegate.ts'
import { type Environment, verifyIfname } from '../../src/cni/environment.ts'
import { CniError } from '../../src/cni/error.ts'
import { type NetConf, parseIpamConf, parseNetConf } from '../../src/cni/netconf.ts'

const test = suite('netconf')

const environment = (command: Environment['command'], args = ''): Environment => ({
  command,
  containerID: 'c1',
  netns: '/n',
  ifname: 'eth0',
  args,
  path: [],
  netnsOverride: false,
})
const BASE = { cniVersion: '1.1.0', name: 'net', type: 'tunlink' }
const parse = (conf: object, command: Environment['command'] = 'ADD', args = ''): NetConf =>
  parseNetConf(JSON.stringify({ ...BASE, ...conf }), environment(command, args))
const annotated = (mtu: unknown) => ({ runtimeConfig: { 'io.kubernetes.cri.pod-annotations': { 'tunlink.dev/mtu': mtu } } })

function refused(code: number, message: RegExp, body: () => unknown): void {
  try {
    body()
  } catch (error) {
    assert.instance(error, CniError)
    assert.match((error as CniError).message, message)
    assert.is((error as CniError).code, code)
    assert.not.match((error as CniError).message, /undefined/)
    return
  }
  assert.unreachable(`nothing was refused with ${message}`)
}

test('"wire" is auto, kernel or thread, and goes with "farEnd": "host"', () => {
  assert.is(parse({}).wire, 'auto')
  for (const wire of ['auto', 'kernel', 'thread']) assert.is(parse({ wire }).wire, wire)
  refused(7, /"wire" must be "auto" or "kernel" or "thread", not "veth"/, () => parse({ wire: 'veth' }))
  refused(7, /"wire" must be .* not 1$/, () => parse({ wire: 1 }))
  refused(7, /"wire" is "auto", but goes with "farEnd": "host" only/, () => parse({ farEnd: 'attach', owner: 1, wire: 'auto' }))
})

const WRONG: [object, string?][] = [
  [annotated('jumbo')],
  [annotated('9000')],
  [{ mac: 'x' }],
  [{ mtu: 20 }],
  [{ owner: -1 }],
  [{ farEnd: 'attach' }],
  [{ wire: 5 }],
  [{ peer: 'x' }],
  [{ dns: { nameservers: [1] } }],
  [{ prevResult: 'x' }],
  [{ prevResult: { ips: [{ address: 'x' }] } }],
  [{ runtimeConfig: { mac: '02:00:00:00:00:01' } }],
  [{ runtimeConfig: 5 }],
  [{ runtimeConfig: { ips: ['x'] } }],
  [{ args: { cni: { ips: 'x' } } }],
  [{ agent: { spawn: 'no' } }],
  [{ ipMasq: 'yes' }],
  [{ addressing: 'flat' }],
  [{}, 'FOO'],
  [{}, 'MAC=02:00:00:00:00:01'],
]
for (const [conf, args] of WRONG) {
  test(`DEL and GC take ${JSON.stringify(conf)} ${args ?? ''}, which ADD refuses`, () => {
    assert.throws(
      () => parse({ mtu: 1500, ...conf }, 'ADD', args),
      (error: unknown) => error instanceof CniError,
    )
    for (const command of ['DEL', 'GC'] as const) assert.is(parse(conf, command, args).dataDir, '/run/tunlink')
  })
}

test('CHECK reads prevResult and nothing else of the pod; STATUS reads the network and nothing of a pod', () => {
  parse({ ...annotated('jumbo'), mtu: 20 }, 'CHECK', 'FOO')
  refused(6, /"prevResult" must be an object, not "x"/, () => parse({ prevResult: 'x' }, 'CHECK'))
  parse({ ...annotated('jumbo'), prevResult: 'x' }, 'STATUS', 'FOO')
  refused(7, /"mtu" must be an integer/, () => parse({ mtu: 20 }, 'STATUS'))
})

test('DEL and GC refuse what they use', () => {
  refused(7, /"dataDir" must be an absolute path/, () => parse({ dataDir: 'x' }, 'DEL'))
  refused(7, /"ipam.type" must be the name of a plugin, but is missing/, () => parse({ ipam: { subnet: 'x' } }, 'DEL'))
  refused(7, /"ipam" must be an object, not "x"/, () => parse({ ipam: 'x' }, 'DEL'))
  refused(7, /"cni.dev\/valid-attachments" must be a list of {containerID, ifname}, not \[1\]/, () =>
    parse({ 'cni.dev/valid-attachments': [1] }, 'GC'),
  )
  assert.equal(parse({ 'cni.dev/valid-attachments': null }, 'GC').validAttachments, [])
  assert.is(parse({}, 'GC').validAttachments, undefined)
  assert.equal(parse({ agent: { spawn: false } }, 'DEL').agent, { spawn: false, idleSeconds: 60 })
})

test('null is an absent key everywhere, and "mtu": 0 the default', () => {
  const nothing = {
    mtu: null,
    wire: null,
    mac: null,
    owner: null,
    peer: null,
    dns: null,
    agent: null,
    args: null,
    prevResult: null,
    dataDir: null,
  }
  assert.equal(parse({ ...nothing, ipam: null, runtimeConfig: null }), parse({}))
  const inner = { agent: { spawn: null }, args: { cni: null }, runtimeConfig: { ips: null, mac: null, dns: null } }
  assert.equal(parse(inner), parse({}))
  assert.equal(parse({ ipam: { type: 'tunlink', ranges: [[{ subnet: '10.0.0.0/24', gateway: null }]], routes: null } }).ipam, {
    type: 'tunlink',
    ranges: [[{ subnet: '10.0.0.0/24' }]],
  })
  assert.is(parse({ mtu: 0 }).mtu, undefined)
})

test('a whole conflist is refused as one', () => {
  refused(7, /this is a whole conflist/, () => parse({ type: undefined, plugins: [{ type: 'tunlink' }] }))
})

test('a key that is nearly a known one is named', () => {
  const foreign = { capabilities: {}, other: 1, isGateway: true, mode: 'x', master: 'm', ips: [], delegates: [] }
  assert.equal(parse({ ipMasq: true, ...foreign }).warnings, [])
  for (const [slip, meant] of Object.entries({ ipMask: 'ipMasq', adressing: 'addressing', mut: 'mtu', multi_queue: 'multiQueue' }))
    assert.equal(parse({ [slip]: 1 }).warnings, [`unknown key "${slip}": did you mean "${meant}"?`])
  assert.equal(parse({ ipam: { type: 'tunlink', rangse: [], subnets: 'x' } }).warnings, [
    'unknown key "ipam.rangse": did you mean "ranges"?',
    'unknown key "ipam.subnets": did you mean "subnet"?',
  ])
  assert.equal(
    parse({ ipmasq: true, agent: { Spawn: true }, ipam: { type: 'tunlink', rangestart: 'x', ranges: [[{ Subnet: 'x' }]] } }).warnings,
    [
      'unknown key "ipmasq": did you mean "ipMasq"?',
      'unknown key "agent.Spawn": did you mean "spawn"?',
      'unknown key "ipam.rangestart": did you mean "rangeStart"?',
      'unknown key "ipam.ranges[0][0].Subnet": did you mean "subnet"?',
    ],
  )
  assert.equal(parse({ ipam: { type: 'host-local', rangestart: 'x' } }).warnings, [])
})

test('the annotation wins over "mtu", up to it', () => {
  assert.equal([parse({ mtu: 1500, ...annotated('1400') }).mtu, parse(annotated('9000')).mtu], [1400, 9000])
  refused(7, /annotation "tunlink.dev\/mtu" must be at most the network's "mtu" 1500, not "1501"/, () =>
    parse({ mtu: 1500, ...annotated('1501') }),
  )
  for (const text of ['jumbo', '', '0', '67', '65536', '0x600', '1e3', ' 1400'])
    refused(7, /annotation "tunlink.dev\/mtu" must be an integer from 68 to 65535, not /, () => parse(annotated(text)))
})

const result = (more: object) => ({ prevResult: { interfaces: [{ name: 'eth0', sandbox: '/n' }], ...more } })
const RESULTS: [object, RegExp][] = [
  [{ interfaces: 'x' }, /"prevResult.interfaces" must be a list of objects, not "x"/],
  [{ interfaces: [{}] }, /"prevResult.interfaces\[0\].name" must be a string, but is missing/],
  [{ interfaces: [{ name: 'a', mtu: '5' }] }, /"prevResult.interfaces\[0\].mtu" must be an integer/],
  [{ ips: [5] }, /"prevResult.ips" must be a list of objects, not \[5\]/],
  [{ ips: [{}] }, /"prevResult.ips\[0\].address" must be an address with a prefix, but is missing/],
  [{ ips: [{ address: '10.0.0.1' }] }, /"prevResult.ips\[0\].address" must be an address with a prefix, not "10.0.0.1"/],
  [{ ips: [{ address: '10.0.0.1/24', gateway: 'x' }] }, /"prevResult.ips\[0\].gateway" must be an address, not "x"/],
  [{ ips: [{ address: '10.0.0.1/24', interface: 1 }] }, /"prevResult.ips\[0\].interface" must be an index into the 1 of .*, not 1/],
  [{ ips: [{ address: '10.0.0.1/24', interface: -1 }] }, /"prevResult.ips\[0\].interface" must be an integer/],
  [{ routes: [{ dst: 'x' }] }, /"prevResult.routes\[0\].dst" must be a network, not "x"/],
  [{ routes: [{ dst: '0.0.0.0/0', gw: 5 }] }, /"prevResult.routes\[0\].gw" must be a string, not 5/],
  [{ dns: { search: 'x' } }, /"prevResult.dns.search" must be a list of strings, not "x"/],
  [{ cniVersion: 5 }, /"prevResult.cniVersion" must be a string, not 5/],
  [{ cniVersion: '0.2.0', ip4: { ip: 5 } }, /"prevResult.ip4.ip" must be an address with a prefix, not 5/],
  [{ cniVersion: '0.2.0', ip4: 'x' }, /"prevResult.ip4" must be an object, not "x"/],
]
for (const [more, message] of RESULTS) {
  test(`prevResult with ${JSON.stringify(more)} is code 6 for ADD and CHECK`, () => {
    for (const command of ['ADD', 'CHECK'] as const) refused(6, message, () => parse(result(more), command))
  })
}

test('prevResult with "ips": null has no addresses, and is kept as it was otherwise', () => {
  assert.equal(parse({ prevResult: { ips: null, interfaces: [{ name: 'a' }] } }).prevResult, {
    cniVersion: '1.1.0',
    interfaces: [{ name: 'a' }],
    ips: [],
    routes: [],
    dns: {},
  })
  const whole = {
    interfaces: [{ name: 'a', mac: 'x' }],
    ips: [{ address: '10.0.0.1/24', interface: 0 }],
    routes: [{ dst: '::/0', gw: 'fe80::1' }],
  }
  assert.equal(parse({ prevResult: whole }).prevResult, { cniVersion: '1.1.0', ...whole, dns: {} })
})

test('"dns" is validated, and keys that are none of it are left out', () => {
  refused(7, /"dns.nameservers" must be a list of strings, not \[5\]/, () => parse({ dns: { nameservers: [5] } }))
  refused(7, /"dns.domain" must be a string, not 5/, () => parse({ dns: { domain: 5 } }))
  refused(7, /"runtimeConfig.dns.servers" must be a list of strings, not "x"/, () => parse({ runtimeConfig: { dns: { servers: 'x' } } }))
  assert.equal(parse({ dns: { domain: 'a', more: 1 } }).dns, { domain: 'a' })
})

test('"dataDir" leaves room for the socket of the agent', () => {
  const most = `/${'d'.repeat(95)}` // 108 bytes of sun_path, less "/agent.sock" and the zero
  assert.is(parse({ dataDir: most }).dataDir, most)
  for (const dataDir of [`${most}d`, 'relative', '/a\0b', 5]) refused(7, /"dataDir" must be /, () => parse({ dataDir }))
  assert.is(parse({ dataDir: '' }).dataDir, '/run/tunlink')
})

test('a network name longer than a file name is code 7', () => {
  assert.is(parse({ name: 'n'.repeat(255) }).name.length, 255)
  refused(7, /"name" must be a name of at most 255 characters/, () => parse({ name: 'n'.repeat(256) }))
})

test('an interface name may be of any letters that the kernel takes', () => {
  for (const name of ['büro0', '網路0', 'eth0']) verifyIfname(name, 'CNI_IFNAME')
  refused(4, /too long/, () => verifyIfname('ü'.repeat(8), 'CNI_IFNAME'))
  refused(4, /takes for a space/, () => verifyIfname('à0', 'CNI_IFNAME')) // c3 a0
  refused(4, /not UTF-8/, () => verifyIfname(Buffer.from([0x65, 0xfc]).toString(), 'CNI_IFNAME'))
})

test('parseLease() takes a result with an address, and names the plugin otherwise', () => {
  const lease = (stdout: string) => parseLease('other', stdout, '1.0.0')
  assert.equal(lease('{"ips":[{"address":"10.0.0.1/24"}],"routes":null}').ips, [{ address: '10.0.0.1/24' }])
  for (const stdout of ['', '{', 'null', '[]']) refused(6, /ipam "other" printed no result/, () => lease(stdout))
  for (const stdout of ['{"ips":null}', '{}', '{"cniVersion":"0.2.0","ip4":null}'])
    refused(6, /ipam "other" printed a result without an address/, () => lease(stdout))
  refused(6, /"result.ips\[0\].address" must be an address with a prefix, not "10.0.0.1"/, () => lease('{"ips":[{"address":"10.0.0.1"}]}'))
  refused(7, /ipam "other" gave a route whose gateway is of another family: {"dst":"0.0.0.0\/0","gw":"fd00::1"}/, () =>
    lease('{"ips":[{"address":"10.0.0.1/24"}],"routes":[{"dst":"0.0.0.0/0","gw":"fd00::1"}]}'),
  )
})

test('parseIpamConf() takes a MAC address, which is right for a bridge', () => {
  const conf = { ...BASE, type: 'bridge', mac: 'x', runtimeConfig: { mac: 'x' }, ipam: { type: 'tunlink', Subnet: 'x' } }
  const { ipam, requestedIPs, warnings } = parseIpamConf(JSON.stringify(conf), environment('ADD', 'MAC=02:00:00:00:00:01;IP=10.0.0.5'))
  assert.equal([ipam, requestedIPs], [conf.ipam, ['10.0.0.5']])
  assert.equal(warnings, ['unknown key "ipam.Subnet": did you mean "subnet"?'])
})

test.run()
