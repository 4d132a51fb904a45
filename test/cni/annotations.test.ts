/** Settings of a pod by annotation: what each may say, and what the configuration must allow. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Environment } from '../../src/cni/environment.ts'
import { CniError } from '../../src/cni/error.ts'
import { type NetConf, parseNetConf } from '../../src/cni/netconf.ts'

const test = suite('annotations')

const ALL = ['mtu', 'peer', 'addresses', 'owner', 'group', 'far-end']
const IPAM = { type: 'tunlink', subnet: '10.66.0.0/24' }
const ATTACH = { farEnd: 'attach', owner: 1000, annotations: ALL, ipam: IPAM }

/** The configuration `conf` with a pod's annotations, as a runtime sends both. */
function parse(conf: object, annotations: object, command: Environment['command'] = 'ADD'): NetConf {
  const environment = { command, containerID: 'c1', netns: '/n', ifname: 'eth0', args: '', path: [], netnsOverride: false }
  const base = { cniVersion: '1.1.0', name: 'net', type: 'tunlink', runtimeConfig: { 'io.kubernetes.cri.pod-annotations': annotations } }
  return parseNetConf(JSON.stringify({ ...base, ...conf }), environment)
}

function refused(message: RegExp, body: () => unknown): void {
  assert.throws(body, (error: unknown) => {
    assert.instance(error, CniError)
    assert.match((error as CniError).message, message)
    return (error as CniError).code === 7
  })
}

test('each setting replaces what the configuration says', () => {
  const conf = parse(ATTACH, {
    'tunlink.dev/mtu': '1400',
    'tunlink.dev/owner': '2000',
    'tunlink.dev/group': '0',
    'tunlink.dev/peer': '10.9.9.1, fd99::1/64',
    'tunlink.dev/addresses': '10.66.0.7,fd66::7',
    'example.org/owner': '5',
  })
  assert.equal([conf.mtu, conf.owner, conf.group, conf.farEnd], [1400, 2000, 0, 'attach'])
  assert.equal(conf.peer, [
    { address: '10.9.9.1', prefix: 32 },
    { address: 'fd99::1', prefix: 64 },
  ])
  assert.equal([conf.requestedIPs, conf.requestedBy], [['10.66.0.7', 'fd66::7'], 'annotation "tunlink.dev/addresses"'])
})

test('a pod may choose the far end, and then only the keys of that one count', () => {
  const both = { ...ATTACH, wire: 'thread' }
  const host = parse(both, { 'tunlink.dev/far-end': 'host' })
  assert.equal([host.farEnd, host.wire, host.owner], ['host', 'thread', undefined])
  const attach = parse({ ...both, farEnd: 'host' }, { 'tunlink.dev/far-end': 'attach' })
  assert.equal([attach.farEnd, attach.wire, attach.owner], ['attach', 'auto', 1000])
  assert.is(parse({ ...both, farEnd: 'host' }, {}).farEnd, 'host')
  refused(/"owner" is 1000, but goes with "farEnd": "attach" only/, () => parse({ owner: 1000, annotations: ['owner'] }, {}))
})

test('where a pod may choose the far end, the keys of both are looked at', () => {
  const both = { annotations: ['far-end', 'owner'] }
  for (const command of ['ADD', 'STATUS'] as const) {
    refused(/"wire" must be/, () => parse({ ...both, farEnd: 'attach', wire: 'fast' }, { 'tunlink.dev/owner': '1' }, command))
    refused(/"owner" must be/, () => parse({ ...both, owner: 'root' }, {}, command))
    refused(/"multiQueue" must be/, () => parse({ ...both, multiQueue: 1 }, {}, command))
    refused(/"annotations" allows "far-end" without "owner" and "group": any user could attach/, () =>
      parse({ annotations: ['far-end'] }, {}, command),
    )
    for (const more of [{ owner: 1 }, { allowAnyUser: true }, both]) parse({ annotations: ['far-end'], ...more }, {}, command)
  }
  refused(/annotation "tunlink.dev\/far-end" is "attach" without "owner" and "group"/, () =>
    parse(both, { 'tunlink.dev/far-end': 'attach' }),
  )
})

test('nobody may attach but whom configuration or annotation names', () => {
  const open = { farEnd: 'attach', annotations: ['owner'] }
  refused(/"farEnd" is "attach" without "owner" and "group".*there or by annotation/, () => parse(open, {}))
  assert.is(parse(open, { 'tunlink.dev/owner': '7' }).owner, 7)
  assert.is(parse(open, {}, 'STATUS').farEnd, 'attach') // no pod is asked about
  refused(/"farEnd" is "attach" without "owner" and "group"/, () => parse({ farEnd: 'attach' }, {}, 'STATUS'))
  refused(/any user could attach/, () => parse({ annotations: ['far-end'] }, { 'tunlink.dev/far-end': 'attach' }))
})

test('without "annotations" a pod may set the MTU alone', () => {
  assert.is(parse({}, { 'tunlink.dev/mtu': '1400' }).mtu, 1400)
  const { annotations, ...conf } = ATTACH
  for (const setting of annotations.filter(name => name !== 'mtu')) {
    const message = new RegExp(`annotation "tunlink.dev/${setting}" is "1", but this network lets a pod set mtu alone: see "annotations"`)
    refused(message, () => parse(conf, { [`tunlink.dev/${setting}`]: '1' }))
  }
  refused(/annotation "tunlink.dev\/mtu" is "1400", but this network lets a pod set no annotation/, () =>
    parse({ annotations: [] }, { 'tunlink.dev/mtu': '1400' }),
  )
})

test('"annotations" is a list of what there is', () => {
  for (const annotations of [['mac'], 'mtu', [1], { mtu: true }])
    for (const command of ['ADD', 'STATUS'] as const) refused(/"annotations" must be a list of/, () => parse({ annotations }, {}, command))
  assert.equal(parse({ Annotations: [] }, {}).warnings, ['unknown key "Annotations": did you mean "annotations"?'])
})

test('an extra interface has annotations of its own, and no other plugin minds them', () => {
  const annotations = {
    'tunlink.dev/mtu': '1400',
    'tunlink.dev/tun0.mtu': '1300',
    'tunlink.dev/tun0.owner': '2000',
    'tunlink.dev/a.tun0.mtu': 'x',
  }
  const extra = parse({ ...ATTACH, ifName: 'tun0' }, annotations)
  assert.equal([extra.mtu, extra.owner], [1300, 2000])
  assert.equal([parse({}, annotations).mtu, parse({ ...ATTACH, ifName: 'tun1' }, annotations).owner], [1400, 1000])
  refused(/annotation "tunlink.dev\/tun0.owner" is "2000", but this network lets a pod set mtu alone/, () =>
    parse({ ...ATTACH, annotations: ['mtu'], ifName: 'tun0' }, annotations),
  )
})

test("Kubernetes' annotations of bandwidth are about the pod's own interface", () => {
  const annotations = { 'kubernetes.io/ingress-bandwidth': '10M', 'kubernetes.io/egress-bandwidth': '10M' }
  assert.equal(parse({ ...ATTACH, ifName: 'tun0' }, annotations).bandwidth, {})
  assert.is(parse({}, annotations).bandwidth.egress?.rate, 10e6)
})

test('a limit of what comes in is refused by the name of what set it', () => {
  const limit = { 'kubernetes.io/ingress-bandwidth': '10M' }
  refused(/^annotation "kubernetes.io\/ingress-bandwidth" is "10M", but goes with "farEnd": "host" only/, () => parse(ATTACH, limit))
  refused(/^annotation "kubernetes.io\/ingress-bandwidth" is "10M", but annotation "tunlink.dev\/far-end" is "attach"/, () =>
    parse({ ...ATTACH, farEnd: 'host' }, { ...limit, 'tunlink.dev/far-end': 'attach' }),
  )
  const bandwidth = { ingressRate: 8000, ingressBurst: 8000 }
  refused(/^"runtimeConfig.bandwidth.ingressRate" is 8000, but/, () => parse({ ...ATTACH, runtimeConfig: { bandwidth } }, {}))
  refused(/^"ingressRate" is 8000, but/, () => parse({ ...ATTACH, ...bandwidth }, {}))
})

const WRONG: [string, unknown[], RegExp][] = [
  ['owner', ['root', '', '-1', '4294967295', '1.5', '0x0'], /must be an integer from 0 to 4294967294, not /],
  ['group', ['1e3', ' 5'], /must be an integer from 0 to 4294967294, not /],
  ['mtu', ['67', '65536', 'jumbo'], /must be an integer from 68 to 65535, not /],
  ['far-end', ['', 'node', 'Host'], /must be "host" or "attach", not /],
  ['peer', ['', '10.0.0.1,', 'x', '10.0.0.1/33', '10.0.0.256'], /must be addresses between commas, not /],
  ['peer', ['10.0.0.1,10.0.0.2'], /is "10.0.0.1,10.0.0.2", but there is one peer per family/],
  [
    'peer',
    ['0.0.0.0', '0.0.0.0/0', '255.255.255.255', '224.0.0.1', '127.0.0.1', '::', 'ff02::1', '::1', '10.0.0.1,::1'],
    /must be the address of a host: not unspecified, loopback, multicast or broadcast, not /,
  ],
  ['addresses', ['', '10.0.0.1;10.0.0.2', 'auto'], /must be addresses between commas, not /],
  ['mtu', [1400, {}, ['1400']], /must be a string, not /],
  ['onwer', ['1000'], /is "1000", but this tunlink knows tunlink.dev\/mtu, /],
]
for (const [setting, values, message] of WRONG) {
  test(`a wrong ${setting} is named with its value: ${JSON.stringify(values)}; DEL, GC and CHECK do not mind it`, () => {
    const name = `tunlink.dev/${setting}`
    for (const value of values) {
      const whole = new RegExp(`^annotation "${name}" ${message.source}`)
      refused(whole, () => parse(ATTACH, { [name]: value }))
      for (const command of ['DEL', 'GC', 'CHECK', 'STATUS'] as const) parse(ATTACH, { [name]: value }, command)
    }
  })
}

test('DEL and GC do not mind a wrong "annotations"', () => {
  for (const command of ['DEL', 'GC'] as const) parse({ annotations: 'all' }, { 'tunlink.dev/owner': 'x' }, command)
})

test('owner, group and peer are for the far end "attach": a pod gives the node no address', () => {
  for (const setting of ['owner', 'group', 'peer'])
    refused(new RegExp(`annotation "tunlink.dev/${setting}" is "1", but goes with the far end "attach" only`), () =>
      parse({ annotations: ALL }, { [`tunlink.dev/${setting}`]: '1' }),
    )
})

test('addresses are asked of the built-in IPAM alone', () => {
  const asks = { 'tunlink.dev/addresses': '10.66.0.7' }
  refused(/annotation "tunlink.dev\/addresses" is "10.66.0.7", but the network has no "ipam"/, () =>
    parse({ ...ATTACH, ipam: undefined }, asks),
  )
  refused(/, but "ipam.type" is "host-local": only the built-in "tunlink" leases/, () =>
    parse({ ...ATTACH, ipam: { type: 'host-local' } }, asks),
  )
})

test.run()
