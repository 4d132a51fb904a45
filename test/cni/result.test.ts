/** Results: one shape in the program, and for each version of CNI the one that it asks for. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { CniError } from '../../src/cni/error.ts'
import { appendResult, parseResult, printResult, type Result } from '../../src/cni/result.ts'
import { SUPPORTED } from '../../src/cni/version.ts'

const test = suite('CNI results')
const RESULT: Result = {
  cniVersion: '1.1.0',
  interfaces: [
    { name: 'tl0', mtu: 1500 },
    { name: 'eth0', mtu: 1500, sandbox: '/run/netns/c1' },
  ],
  ips: [
    { address: '10.66.0.2/32', gateway: '10.66.0.1', interface: 1 },
    { address: 'fd66::2/128', interface: 1 },
  ],
  routes: [{ dst: '0.0.0.0/0', gw: '10.66.0.1', mtu: 1400 }, { dst: '::/0' }],
  dns: { nameservers: ['10.0.0.53'] },
}
const printed = (version: string, result = RESULT) => JSON.parse(printResult(result, version))

test('1.1.0: all there is', () => {
  assert.equal(printed('1.1.0'), JSON.parse(JSON.stringify(RESULT)))
})

test('1.0.0: interfaces without mtu, routes without their settings', () => {
  assert.equal(printed('1.0.0'), {
    ...RESULT,
    cniVersion: '1.0.0',
    interfaces: [{ name: 'tl0' }, { name: 'eth0', sandbox: '/run/netns/c1' }],
    routes: [{ dst: '0.0.0.0/0', gw: '10.66.0.1' }, { dst: '::/0' }],
  })
})

test('0.3.0 to 0.4.0: each address says its family too', () => {
  for (const version of ['0.3.0', '0.3.1', '0.4.0']) {
    const { cniVersion, ips } = printed(version)
    assert.is(cniVersion, version)
    assert.equal(ips, [
      { version: '4', address: '10.66.0.2/32', gateway: '10.66.0.1', interface: 1 },
      { version: '6', address: 'fd66::2/128', interface: 1 },
    ])
  }
})

test('0.1.0 and 0.2.0: the first address of each family with its routes, and no interfaces', () => {
  for (const version of ['0.1.0', '0.2.0'])
    assert.equal(printed(version), {
      cniVersion: version,
      ip4: { ip: '10.66.0.2/32', gateway: '10.66.0.1', routes: [{ dst: '0.0.0.0/0', gw: '10.66.0.1' }] },
      ip6: { ip: 'fd66::2/128', routes: [{ dst: '::/0' }] },
      dns: { nameservers: ['10.0.0.53'] },
    })
})

test('0.2.0 and older cannot say that there is no address', () => {
  const bare = { ...RESULT, ips: [], routes: [] }
  assert.throws(
    () => printResult(bare, '0.2.0'),
    (error: CniError) => error.code === 999,
  )
  assert.equal(printed('1.1.0', bare).ips, [])
})

test('an empty dns is printed before 1.0.0 only', () => {
  for (const version of SUPPORTED) assert.is('dns' in printed(version, { ...RESULT, dns: {} }), version < '1.0.0', version)
})

test('parseResult() reads what printResult() has printed, as far as the version can say it', () => {
  const withoutDetails = { ...RESULT, interfaces: printed('1.0.0').interfaces, routes: printed('1.0.0').routes }
  assert.equal(parseResult(printed('1.1.0'), '1.1.0'), RESULT)
  assert.equal(parseResult(printed('1.0.0'), '1.0.0'), { ...withoutDetails, cniVersion: '1.0.0' })
  assert.equal(parseResult(printed('0.2.0'), '0.2.0'), {
    cniVersion: '0.2.0',
    interfaces: [],
    ips: [{ address: '10.66.0.2/32', gateway: '10.66.0.1' }, { address: 'fd66::2/128' }],
    routes: withoutDetails.routes,
    dns: RESULT.dns,
  })
})

test('parseResult() takes its version from the result, else that of the call', () => {
  const result = { ip4: { ip: '10.0.0.1/24' } }
  assert.is(parseResult({ cniVersion: '0.2.0', ...result }, '1.1.0').ips.length, 1)
  assert.is(parseResult(result, '0.1.0').cniVersion, '0.1.0')
})

test('parseResult() names what is wrong, with code 6', () => {
  for (const [json, words] of [
    [7, 'prevResult'],
    [{ ips: {} }, 'prevResult.ips'],
    [{ ips: [{ address: '10.0.0.1' }] }, 'prevResult.ips[0].address'],
    [{ ips: [{ address: '10.0.0.1/24', gateway: 'x' }] }, 'prevResult.ips[0].gateway'],
    [{ ips: [{ address: '10.0.0.1/24', interface: -1 }] }, 'prevResult.ips[0].interface'],
    [{ interfaces: [{ mac: '' }] }, 'prevResult.interfaces[0].name'],
    [{ routes: [{ dst: '10.0.0.0' }] }, 'prevResult.routes[0].dst'],
    [{ dns: { nameservers: 'x' } }, 'prevResult.dns.nameservers'],
  ] as const)
    assert.throws(
      () => parseResult(json, '1.1.0', 'prevResult'),
      (error: CniError) => error.code === 6 && error.message.includes(`"${words}"`),
      words,
    )
})

test('appendResult() moves indexes of interfaces up, and keeps the dns that was there', () => {
  const previous: Result = {
    ...RESULT,
    interfaces: [{ name: 'br0' }],
    ips: [{ address: '192.0.2.1/24', interface: 0 }],
    routes: [],
    dns: {},
  }
  const { interfaces, ips, routes, dns } = appendResult(previous, { ...RESULT, ips: [...RESULT.ips, { address: '10.0.0.9/32' }] })
  assert.equal(
    interfaces.map(({ name }) => name),
    ['br0', 'tl0', 'eth0'],
  )
  assert.equal(
    ips.map(ip => ip.interface),
    [0, 2, 2, undefined],
  )
  assert.equal([routes, dns], [RESULT.routes, RESULT.dns])
  assert.equal(appendResult({ ...previous, dns: { domain: 'x' } }, RESULT).dns, { domain: 'x' })
})

test.run()
