/** Prometheus' text format, byte by byte where it matters. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { family, leaseMetrics, linkMetrics, metricsPage, poolUse, verbMetrics } from '../../src/node/metrics.ts'
import { checklist, parseBindAddress } from '../../src/node/server.ts'

const test = suite('metrics and health')

test('family() has help, type, and labels with quotes, backslashes and line feeds escaped', () => {
  assert.is(
    family('a_total', 'counter', 'What.', [{ labels: { path: 'a"b\\c\nd' }, value: 2 }]),
    '# HELP a_total What.\n# TYPE a_total counter\na_total{path="a\\"b\\\\c\\nd"} 2\n',
  )
  assert.is(family('none', 'gauge', 'Nothing.', []), '')
})
test('verbMetrics() makes counts cumulative, up to +Inf', () => {
  const text = verbMetrics({ ADD: { seconds: { le: [0.01, 0.1], counts: [3, 2, 1], sum: 0.5, count: 6 }, errors: { 7: 2 } } })
  assert.equal(
    text.split('\n').filter(line => line !== '' && !line.startsWith('#')),
    [
      'tunlink_verb_duration_seconds_bucket{verb="ADD",le="0.01"} 3',
      'tunlink_verb_duration_seconds_bucket{verb="ADD",le="0.1"} 5',
      'tunlink_verb_duration_seconds_bucket{verb="ADD",le="+Inf"} 6',
      'tunlink_verb_duration_seconds_sum{verb="ADD"} 0.5',
      'tunlink_verb_duration_seconds_count{verb="ADD"} 6',
      'tunlink_verb_errors_total{verb="ADD",code="7"} 2',
    ],
  )
})
test('linkMetrics() has both directions of each link', () => {
  const counters = { packets: 1, bytes: 2, drops: 3 }
  const text = linkMetrics([{ link: 'tl1', network: 'tunlink', wire: 'kernel', podToHost: counters, hostToPod: { ...counters, bytes: 4 } }])
  assert.match(text, /^tunlink_links 1$/m)
  assert.match(text, /^tunlink_link_bytes_total\{link="tl1",network="tunlink",wire="kernel",direction="pod_to_host"\} 2$/m)
  assert.match(text, /^tunlink_link_bytes_total\{.*direction="host_to_pod"\} 4$/m)
  assert.match(text, /^tunlink_link_drops_total\{.*\} 3$/m)
})
test('leaseMetrics() counts each family: a /24 has 253 addresses besides its gateway', () => {
  const text = leaseMetrics(['10.244.0.0/24', 'fd66::/120'], ['10.244.0.5', '10.244.0.6', 'fd66::5', '.owners'])
  assert.match(text, /\{family="ipv4",state="used"\} 2\n.*\{family="ipv4",state="free"\} 251\n/)
  assert.match(text, /\{family="ipv6",state="used"\} 1\n/)
})
test('poolUse() does not count the leases of extra interfaces: their pools are not the pod CIDRs', () => {
  const leased = ['10.66.0.2', '10.99.0.1', '10.99.0.2', '10.99.0.3', '10.99.0.4']
  assert.equal(poolUse(['10.66.0.0/29'], leased), [{ family: 'IPv4', used: 1, free: 4 }])
})
test('metricsPage() leaves out what an absent agent would say', () => {
  const page = metricsPage({
    version: '1',
    ready: false,
    links: undefined,
    verbs: undefined,
    podCIDRs: [],
    leased: [],
    agentStarts: 2,
    apiErrors: 0,
    routes: { wanted: 3, installed: 2 },
    collected: { links: 1 },
    failing: ['forward'],
  })
  assert.not.match(page, /tunlink_links|tunlink_verb/)
  for (const line of [
    'tunlink_ready 0',
    'tunlink_part_failing{part="forward"} 1',
    'tunlink_agent_starts_total 2',
    'tunlink_routes_wanted 3',
    'tunlink_routes_installed 2',
  ])
    assert.ok(page.split('\n').includes(line), line)
})
test('checklist() is 503 when one check fails, and says which', () => {
  assert.equal(checklist({ agent: true }), { status: 200, body: '[+]agent ok\n' })
  assert.equal(checklist({ agent: true, conflist: 'not installed' }), {
    status: 503,
    body: '[+]agent ok\n[-]conflist failed: not installed\n',
  })
})
test('parseBindAddress() takes IPv4, IPv6 with and without brackets, and no host', () => {
  assert.equal(parseBindAddress('127.0.0.1:9641'), { host: '127.0.0.1', port: 9641 })
  assert.equal(parseBindAddress('[::1]:9641'), { host: '::1', port: 9641 })
  assert.equal(parseBindAddress('fd00::1:9641'), { host: 'fd00::1', port: 9641 })
  assert.equal(parseBindAddress(':9641'), { port: 9641 })
  for (const wrong of ['9641', 'host', 'host:99999', 'host:']) assert.throws(() => parseBindAddress(wrong), /must be HOST:PORT/)
})

test.run()
