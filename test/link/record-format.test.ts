/** Every field of a record is validated when it is read: people edit files by hand. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type EndPlan, hostIfname, type LinkPlan } from '../../src/link/plan.ts'
import { FIELDS, parseRecord } from '../../src/link/record-format.ts'

const test = suite('record format')
const attachment = { network: 'net', containerID: 'c1', ifname: 'eth0' }
const RECORD: LinkPlan = {
  version: 2,
  ...attachment,
  farEnd: 'host',
  wire: 'kernel',
  netns: '/run/netns/c1',
  netnsId: { dev: 4, ino: 4026532000 },
  mtu: 1500,
  txQLen: 500,
  multiQueue: false,
  pod: {
    ifname: 'eth0',
    addresses: [
      { local: '10.66.0.2', peer: '10.66.0.1', prefix: 32 },
      { local: 'fd66::2', peer: 'fd66::1', prefix: 128 },
    ],
    routes: [{ dst: '0.0.0.0/0', gw: '10.66.0.1', mtu: 1400, advmss: 1360, priority: 5, table: 77, scope: 0, onlink: true }],
  },
  host: { ifname: hostIfname(attachment), addresses: [{ local: '10.66.0.1', peer: '10.66.0.2', prefix: 32 }], routes: [] },
  masquerade: ['10.66.0.2'],
  cniIfname: 'eth0',
  podName: 'default/web',
  started: 1_700_000_000_000.5,
  toPod: { rate: 125_000, burst: 1514 },
  fromPod: { rate: 125_000, burst: 1514 },
}
const ATTACH: LinkPlan = { ...RECORD, farEnd: 'attach', owner: 1000, group: 1000 }
delete ATTACH.wire
delete ATTACH.host

const parse = (record: object) => parseRecord(JSON.stringify(record))

const ADDRESS = { local: '10.66.0.2', peer: '10.66.0.1', prefix: 32 }
const ROUTE = { dst: '10.0.0.0/8', gw: '10.66.0.1' }
/** `end` with wrong addresses, and with wrong routes. */
function wrongEnds(end: EndPlan): object[] {
  const address = (key: string, ...values: unknown[]) => values.map(value => ({ ...ADDRESS, [key]: value }))
  const route = (key: string, ...values: unknown[]) => values.map(value => ({ ...ROUTE, [key]: value }))
  const addresses = [
    null,
    7,
    '10.66.0.2/32',
    ...address('local', '', 7, '10.66.0.256', '10.66.0.2/32', undefined),
    ...address('peer', '', 7, 'fd66::1', null),
    ...address('prefix', -1, 33, 1.5, '32', undefined),
  ]
  const routes = [
    null,
    7,
    '10.0.0.0/8',
    ...route('dst', '', 7, '10.0.0.0', '10.0.0.0/33', undefined),
    ...route('gw', '', 7, 'fd66::1', '10.66.0.1/32'),
    ...['mtu', 'advmss', 'priority', 'table'].flatMap(key => route(key, '', -1, 1.5, 2 ** 32, null)),
    ...route('scope', -1, 256, ''),
    ...route('onlink', 0, 'yes', null),
  ]
  return [
    ...[...addresses.map(one => [one]), null, {}, '', undefined].map(wrong => ({ ...end, addresses: wrong })),
    ...[...routes.map(one => [one]), null, {}, '', undefined].map(wrong => ({ ...end, routes: wrong })),
  ]
}

test('what ADD writes is read as it was', () => {
  for (const record of [RECORD, ATTACH]) assert.equal(parse(record), record)
})

const ANYTHING = [null, '', [], {}, true, -1, 1.5, 1e300, '../x']
const WRONG_SHAPES = [
  ...ANYTHING,
  ...[-1, 1.5, '7', null, 1e300, undefined].flatMap(wrong => [
    { rate: wrong, burst: 1 },
    { rate: 1, burst: wrong },
  ]),
]
/** For each field what it must not be, beside ANYTHING that is not named as right. */
const WRONG: [field: keyof LinkPlan, changes: object[]][] = [
  ['version', [{ version: 3 }, { version: 0 }, ...ANYTHING.map(version => ({ version }))]],
  ['network', [{ network: '' }, { network: 7 }, { network: undefined }]],
  ['containerID', [...ANYTHING, '.c1', 'c/1', 'c1\n', undefined].map(containerID => ({ containerID }))],
  ['ifname', [...ANYTHING, 'a/b', 'a:b', 'a b', '..', 'eth%d', 'x'.repeat(16), undefined].map(ifname => ({ ifname }))],
  ['cniIfname', [...ANYTHING, 'a/b', 'a:b', 'a b', '..', 'eth%d', 'x'.repeat(16)].map(cniIfname => ({ cniIfname }))],
  ['farEnd', [...ANYTHING, undefined].map(farEnd => ({ farEnd }))],
  ['wire', [...ANYTHING, undefined].map(wire => ({ wire }))],
  ['netns', [...ANYTHING, 'run/netns/c1', '/run\0', undefined].map(netns => ({ netns }))],
  ['podName', [null, '', [], {}, true, 7].map(podName => ({ podName }))],
  ['started', [null, '', '7', [], {}, true].map(started => ({ started }))],
  ['netnsId', [...ANYTHING.slice(0, -2), { dev: -1, ino: 1 }, { dev: 1 }].map(netnsId => ({ netnsId }))],
  ['mtu', [...ANYTHING, 0, 67, 65536, undefined].map(mtu => ({ mtu }))],
  ['txQLen', [...ANYTHING, 0, 2 ** 31].map(txQLen => ({ txQLen }))],
  ['owner', [...ANYTHING, 2 ** 32 - 1].map(owner => ({ owner }))],
  ['group', [...ANYTHING, 2 ** 32 - 1].map(group => ({ group }))],
  ['multiQueue', ['', 0, null, undefined].map(multiQueue => ({ multiQueue }))],
  [
    'pod',
    [
      ...[...ANYTHING, undefined].map(pod => ({ pod })),
      ...[...ANYTHING, 'eth1', undefined].map(ifname => ({ pod: { ...RECORD.pod, ifname } })),
      ...wrongEnds(RECORD.pod).map(pod => ({ pod })),
    ],
  ],
  [
    'host',
    [
      ...[...ANYTHING, undefined].map(host => ({ host })),
      ...['eth0', 'tl0123456789abc', '../x', 7].map(ifname => ({ host: { ...RECORD.host, ifname } })),
      ...wrongEnds(RECORD.host!).map(host => ({ host })),
    ],
  ],
  [
    'masquerade',
    [...ANYTHING.filter(value => JSON.stringify(value) !== '[]'), [7], ['x'], ['10.66.0.3'], ['10.66.0.1'], undefined].map(masquerade => ({
      masquerade,
    })),
  ],
  ['toPod', WRONG_SHAPES.map(toPod => ({ toPod }))],
  ['fromPod', WRONG_SHAPES.map(fromPod => ({ fromPod }))],
]

test('each field that is validated has wrong values here', () => {
  assert.equal(WRONG.map(([field]) => field).sort(), Object.keys(FIELDS).sort())
})

for (const [field, changes] of WRONG)
  test(`"${field}": ${changes.length} wrong values are refused, and named`, () => {
    for (const change of changes) {
      // Without its version a record is one of 0.1.0, which had fewer fields.
      assert.throws(
        () => parse({ ...RECORD, ...change }),
        new RegExp(`"(${field}|farEnd|pod.ifname|host.ifname)"|version`),
        JSON.stringify(change),
      )
    }
  })

test('a record that is no object, or no JSON, is refused in words', () => {
  for (const [text, words] of [
    ['', /it is empty/],
    ['{', /it is not JSON/],
    ['7', /it is 7, not a record/],
    ['[]', /not a record/],
    ['null', /not a record/],
  ] as const)
    assert.throws(() => parseRecord(text), words)
})

test.run()
