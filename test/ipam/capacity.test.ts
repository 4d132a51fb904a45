/**
 * A pool has as many addresses as are counted; what is reserved is never leased; what a power cut
 * leaves is found.
 */
import { mkdtempSync, rmSync, statSync, truncateSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { CniError } from '../../src/cni/error.ts'
import { candidates, capacity } from '../../src/ipam/candidates.ts'
import { acquire, collect, leaseOf, release } from '../../src/ipam/lease.ts'
import { parseIpam } from '../../src/ipam/pool.ts'

const test = suite('capacity')
let dir = ''
test.before.each(() => {
  dir = mkdtempSync(join(tmpdir(), 'tunlink-ipam-'))
})
test.after.each(() => rmSync(dir, { recursive: true, force: true }))

const owner = (containerID: string) => ({ containerID, ifname: 'eth0' })

test('capacity() is the number of candidates, whatever is excluded, and no candidate is reserved', () => {
  const address = fc.integer({ min: 0, max: 63 }).map(last => `10.0.0.${last}`)
  const block = fc.oneof(
    address,
    fc.tuple(address, fc.integer({ min: 26, max: 32 })).map(([base, prefix]) => `${base}/${prefix}`),
  )
  fc.assert(
    fc.property(fc.array(block, { maxLength: 6 }), fc.boolean(), fc.option(address), fc.string(), (exclude, pair, gateway, id) => {
      const pool = {
        ...parseIpam({ subnet: '10.0.0.0/26', pair, gateway }),
        exclude: parseIpam({ subnet: '10.1.0.0/24', exclude }).exclude,
      }
      const values = [...candidates(pool, pool.sets[0]!, undefined, id)].map(({ value }) => value)
      const reserved = [...pool.exclude, ...(pool.sets[0]![0]!.gateway === undefined ? [] : [single(pool.sets[0]![0]!.gateway!)])]
      assert.is(new Set(values).size, values.length)
      assert.is(BigInt(values.length), capacity(pool, pool.sets[0]!))
      assert.not.ok(values.some(value => reserved.some(({ first, last }) => value + (pair ? 1n : 0n) >= first && value <= last)))
    }),
  )
})

const single = (value: bigint) => ({ first: value, last: value })

test('the gateway of one set is not leased from another', () => {
  const range = (first: number, last: number) => ({ subnet: '10.0.0.0/24', rangeStart: `10.0.0.${first}`, rangeEnd: `10.0.0.${last}` })
  const pool = parseIpam({ ranges: [[range(10, 11)], [{ ...range(20, 21), gateway: '10.0.0.10' }]] })
  assert.is(acquire(dir, 'net', owner('a'), pool, []).ips[0]!.address, '10.0.0.11/24')
  assert.throws(() => acquire(dir, 'net', owner('b'), pool, []), /no addresses available in range set: 10.0.0.10-10.0.0.11/)
})

test('network and broadcast addresses are skipped where rangeStart and rangeEnd name them', () => {
  const [range] = parseIpam({ subnet: '10.0.0.0/24', rangeStart: '10.0.0.0', rangeEnd: '10.0.0.255' }).sets[0]!
  assert.equal([range!.first & 255n, range!.last & 255n], [1n, 254n])
})

test('a pool that can give no address is refused by key and value', () => {
  const none = (key: string, subnet: string) => new RegExp(`"${key}" must be a network with an address to give, .*, not "${subnet}"`)
  assert.throws(() => parseIpam({ subnet: '10.0.0.5/32', gateway: '10.0.0.5' }), none('ipam.subnet', '10.0.0.5/32'))
  assert.throws(() => parseIpam({ subnet: '10.0.0.0/30', exclude: ['10.0.0.2'] }), none('ipam.subnet', '10.0.0.0/30'))
  const ranges = [[{ subnet: '10.0.0.0/24' }], [{ subnet: 'fd66::/128', gateway: 'fd66::' }]]
  assert.throws(() => parseIpam({ ranges }), none('ipam\\.ranges\\[1\\]\\[0\\]\\.subnet', 'fd66::/128'))
})

const WRONG: [object, RegExp][] = [
  [
    { subnet: '10.0.0.0/24', routes: [{ dst: '0.0.0.0/0', gw: 'fd00::1' }] },
    /"ipam.routes" must be routes with "dst" and "gw" of one family/,
  ],
  [{ subnet: '10.0.0.0/24', routes: [{ dst: '0.0.0.0/0', mtu: '5' }] }, /"ipam.routes\[0\].mtu" must be an integer from 0 to 4294967295/],
  [{ subnet: '10.0.0.0/24', routes: ['x'] }, /"ipam.routes" must be a list of objects, not \["x"\]/],
  [{ subnet: '10.0.0.0/24', dns: { nameservers: [5] } }, /"ipam.dns.nameservers" must be a list of strings, not \[5\]/],
  [{ subnet: '10.0.0.0/24', dns: 'x' }, /"ipam.dns" must be an object, not "x"/],
  [{ subnet: '10.0.0.0/24', resolvConf: 5 }, /"ipam.resolvConf" must be a path, not 5/],
  [{ subnet: '10.0.0.0/24', pair: 'x' }, /"ipam.pair" must be true or false, not "x"/],
  [{ subnet: '10.0.0.0/24', rangeStart: '10.0.0.255' }, /"ipam.rangeStart" must be at most the range's end 10.0.0.254, not "10.0.0.255"/],
  [{ ranges: [[{}]] }, /"ipam.ranges\[0\]\[0\].subnet" must be a network such as "10.66.0.0\/24", but is missing/],
  [{ ranges: [['x']] }, /"ipam.ranges" must be a list of non-empty lists of ranges, not \[\["x"\]\]/],
]
for (const [ipam, message] of WRONG) {
  test(`${JSON.stringify(ipam)} is code 7`, () => {
    assert.throws(
      () => parseIpam(ipam as Record<string, unknown>),
      (error: CniError) => error.code === 7 && message.test(error.message),
    )
  })
}

test('null is an absent key', () => {
  const nulls = { rangeStart: null, gateway: null, ranges: null, pair: null, exclude: null, routes: null, dns: null, resolvConf: null }
  assert.equal(parseIpam({ subnet: '10.0.0.0/24', ...nulls }), parseIpam({ subnet: '10.0.0.0/24' }))
})

test('a "gw" that is no string is refused by name', () => {
  assert.throws(() => parseIpam({ subnet: '10.0.0.0/24', routes: [{ dst: '0.0.0.0/0', gw: 1 }] }), /"ipam.routes" must be routes with an/)
})

test('the last free address of a full pool is found without listing the others in the owner file', () => {
  const pool = parseIpam({ subnet: '10.0.0.0/24' })
  for (let n = 0; n < 253; n++) acquire(dir, 'net', owner(`c${n}`), pool, [])
  release(dir, 'net', owner('c7'))
  acquire(dir, 'net', owner('last'), pool, [])
  assert.ok(statSync(join(dir, 'ipam/net/.owners/last:eth0')).size < 100)
})

test('all of a large pool is tried soon, with as many exclusions as there may be: an agent waits for it', () => {
  const exclude = Array.from({ length: 4_000 }, (_, at) => `10.0.${at >> 6}.${(at & 63) * 4}`)
  const pool = parseIpam({ subnet: '10.0.0.0/16', exclude })
  const startedMs = performance.now()
  let count = 0
  for (const _ of candidates(pool, pool.sets[0]!, undefined, 'c1:eth0')) count++
  assert.is(BigInt(count), capacity(pool, pool.sets[0]!))
  const tookMs = performance.now() - startedMs
  assert.ok(tookMs < 2_000, `${tookMs} ms`)
})

test('collect() frees an address whose owner file a power cut emptied, and keeps those that have an owner', () => {
  const pool = parseIpam({ ranges: [[{ subnet: '10.0.0.0/30' }], [{ subnet: 'fd00::/126', gateway: 'fd00::2' }]], exclude: ['fd00::3'] })
  acquire(dir, 'net', owner('a'), pool, [])
  truncateSync(join(dir, 'ipam/net/.owners/a:eth0'))
  acquire(dir, 'other', owner('a'), pool, [])
  collect(dir, 'net', [])
  assert.is(acquire(dir, 'net', owner('b'), pool, []).ips.length, 2)
  collect(dir, 'net', [owner('b')])
  assert.is(leaseOf(dir, 'net', owner('b'))?.length, 2)
})

test.run()
