/** Pools and leases in a directory of their own; crashes are made by hand. */
import { spawn, spawnSync } from 'node:child_process'
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { acquire, collect, leaseOf, release } from '../../src/ipam/lease.ts'
import { parseIpam } from '../../src/ipam/pool.ts'
import { parseResolvConf } from '../../src/ipam/resolv-conf.ts'

const test = suite('lease')
let dir = ''
test.before.each(() => {
  dir = mkdtempSync(join(tmpdir(), 'tunlink-ipam-'))
})
test.after.each(() => rmSync(dir, { recursive: true, force: true }))

const owner = (containerID: string) => ({ containerID, ifname: 'eth0' })
const take = (containerID: string, ipam: Record<string, unknown>, requested: string[] = []) =>
  acquire(dir, 'net', owner(containerID), parseIpam(ipam), requested).ips
const leased = () =>
  readdirSync(join(dir, 'ipam/net'))
    .filter(name => name !== '.owners')
    .sort()

test('a /29 gives its five addresses beside network, broadcast and gateway, then none; release gives one back', () => {
  const ipam = { subnet: '10.0.0.0/29' }
  const given = ['a', 'b', 'c', 'd', 'e'].map(id => take(id, ipam)[0]!)
  assert.equal(
    given.map(ip => ip.address).sort(),
    [2, 3, 4, 5, 6].map(last => `10.0.0.${last}/29`),
  )
  assert.is(given[0]!.gateway, '10.0.0.1')
  assert.throws(() => take('f', ipam), /no addresses available in range set: 10.0.0.1-10.0.0.6/)
  release(dir, 'net', owner('c'))
  assert.is(take('f', ipam)[0]!.address, given[2]!.address)
})
test('pairs are aligned, and the odd address is the peer', () => {
  const ipam = { subnet: '10.0.0.0/29', pair: true, exclude: ['10.0.0.4'] }
  const given = ['a', 'b', 'c'].map(id => take(id, ipam)[0]!)
  assert.equal(given.map(ip => `${ip.address} ${ip.peer}`).sort(), ['10.0.0.0/31 10.0.0.1', '10.0.0.2/31 10.0.0.3', '10.0.0.6/31 10.0.0.7'])
  assert.throws(() => take('d', ipam), /no addresses available/)
})
test('excluded networks, large ones too, are passed over at once', () => {
  assert.is(
    take('a', { subnet: 'fd00::/64', exclude: ['fd00::/65', 'fd00::8000:0:0:0/66', 'fd00::c000:0:0:0/67'] })[0]!.address.slice(0, 7),
    'fd00::e',
  )
})
test('dual stack takes one of each, and all or nothing', () => {
  const ipam = { ranges: [[{ subnet: '10.0.0.0/24' }], [{ subnet: 'fd00::1/128', gateway: 'fe80::1' }]] }
  assert.is(take('a', ipam).length, 2)
  assert.throws(() => take('b', ipam), /fd00::1-fd00::1/)
  assert.is(leased().length, 2)
})
test('a requested address is given or refused, with nothing else taken', () => {
  const ipam = { ranges: [[{ subnet: '10.0.0.0/24' }], [{ subnet: 'fd00::/64' }]] }
  assert.is(take('a', ipam, ['10.0.0.7/24'])[0]!.address, '10.0.0.7/24')
  assert.throws(() => take('b', ipam, ['10.0.0.7']), /"10.0.0.7" is not available/)
  assert.throws(() => take('b', ipam, ['10.0.0.1']), /"10.0.0.1" is not available/) // the gateway
  assert.throws(() => take('b', ipam, ['10.9.0.7']), /in none of the ranges/)
  assert.is(leased().length, 2)
  assert.is(leaseOf(dir, 'net', owner('b')), undefined)
})
test('the same owner twice is an error that leaves the first lease', () => {
  take('a', { subnet: '10.0.0.0/24' })
  assert.throws(() => take('a', { subnet: '10.0.0.0/24' }), /already/)
  assert.is(leaseOf(dir, 'net', owner('a'))?.length, 1)
})
test('after a crash, release() takes what the owner has and leaves what others have', () => {
  take('a', { subnet: '10.0.0.5/32' })
  take('b', { subnet: '10.0.0.6/32' })
  // intended, not linked; and a line cut short
  appendFileSync(join(dir, 'ipam/net/.owners/a:eth0'), '10.0.0.6\n10.0.0.7\n10.0.')
  release(dir, 'net', owner('a'))
  assert.equal(leased(), ['10.0.0.6'])
  release(dir, 'net', owner('a'))
})
test('names too long for a file are told apart, and released', () => {
  for (const end of ['a', 'b']) take('x'.repeat(300) + end, { subnet: '10.0.0.0/24' })
  assert.is(leased().length, 2)
  for (const end of ['a', 'b']) release(dir, 'net', owner('x'.repeat(300) + end))
  assert.equal(leased(), [])
})
test('collect() releases all but the valid', () => {
  for (const id of ['a', 'b', 'c']) take(id, { subnet: '10.0.0.0/24' })
  collect(dir, 'net', [owner('b')])
  assert.is(leased().length, 1)
  assert.is(leaseOf(dir, 'net', owner('b'))?.length, 1)
})
test('collect() knows an extra interface by the CNI_IFNAME that it was made for', () => {
  for (const id of ['a', 'b'])
    acquire(dir, 'net', { containerID: id, ifname: 'tun0', cniIfname: 'eth0' }, parseIpam({ subnet: '10.0.0.0/24' }), [])
  collect(dir, 'net', [owner('b'), { containerID: 'a', ifname: 'net1' }])
  assert.is(leased().length, 1)
  assert.is(leaseOf(dir, 'net', { containerID: 'b', ifname: 'tun0' })?.length, 1)
})
test('collect() keeps a lease of before "cniIfname" as long as its container', () => {
  for (const id of ['a', 'b']) acquire(dir, 'net', { containerID: id, ifname: 'tun0' }, parseIpam({ subnet: '10.0.0.0/24' }), [])
  collect(dir, 'net', [owner('b')])
  assert.is(leased().length, 1)
  assert.is(leaseOf(dir, 'net', { containerID: 'b', ifname: 'tun0' })?.length, 1)
})
test('processes at once never get the same address', async () => {
  const source = (id: number) => `
    import { acquire } from '${new URL('../../src/ipam/lease.ts', import.meta.url)}'
    import { parseIpam } from '${new URL('../../src/ipam/pool.ts', import.meta.url)}'
    for (let n = 0; n < 60; n++) acquire('${dir}', 'net', { containerID: 'p${id}-' + n, ifname: 'eth0' }, parseIpam({ subnet: '10.0.0.0/24' }), [])`
  const statuses = await Promise.all(
    [0, 1, 2, 3].map(
      id => new Promise(done => spawn(process.execPath, ['--input-type=module', '-e', source(id)], { stdio: 'inherit' }).on('close', done)),
    ),
  )
  assert.equal(statuses, [0, 0, 0, 0])
  assert.is(leased().length, 240)
})
const ownerFile = (id: string) => join(dir, `ipam/net/.owners/${id}:eth0`)
const DUAL = { ranges: [[{ subnet: '10.0.0.0/24' }], [{ subnet: 'fd00::/64' }]] }

test('a broken owner file keeps nobody from its addresses: release() finds them by inode', () => {
  for (const text of ['', '{"containerID":"a', 'null\n', '\0\0\0', '{"containerID":"a","ifname":"eth0"}\n10.0.']) {
    take('a', DUAL)
    take('b', DUAL)
    writeFileSync(ownerFile('a'), text)
    assert.is(leaseOf(dir, 'net', owner('a'))?.length, 2)
    release(dir, 'net', owner('a'))
    assert.equal([leased().length, readdirSync(join(dir, 'ipam/net/.owners'))], [2, ['b:eth0']])
    release(dir, 'net', owner('b'))
  }
})
test('acquire() goes on where a power cut left an owner file that says nothing', () => {
  take('a', DUAL)
  writeFileSync(ownerFile('a'), '')
  take('a', DUAL)
  assert.is(leased().length, 2)
})
test('an address that an owner file names twice hides no other that the owner has', () => {
  take('a', { ranges: [[{ subnet: '10.0.0.8/32' }], [{ subnet: '10.0.0.9/32' }]] })
  writeFileSync(ownerFile('a'), `${JSON.stringify(owner('a'))}\n10.0.0.8\n10.0.0.8\n`)
  assert.equal(leaseOf(dir, 'net', owner('a'))?.sort(), ['10.0.0.8', '10.0.0.9'])
  release(dir, 'net', owner('a'))
  assert.equal(leased(), [])
})
test('symbolic links are never followed, and stand in for nothing', () => {
  const outside = join(dir, 'outside')
  writeFileSync(outside, '{"containerID":"a","ifname":"eth0"}\n10.0.0.9\n')
  take('b', { subnet: '10.0.0.9/32' })
  symlinkSync(outside, ownerFile('a'))
  symlinkSync(join(dir, 'nowhere'), join(dir, 'ipam/net/10.0.0.8'))
  assert.is(leaseOf(dir, 'net', owner('a')), undefined)
  assert.throws(() => take('c', { subnet: '10.0.0.8/32' }), /no addresses available/)
  take('a', { subnet: '10.0.0.7/32' })
  assert.is(readFileSync(outside, 'utf8').split('\n').length, 3)
  symlinkSync(ownerFile('a'), ownerFile('d'))
  release(dir, 'net', owner('d'))
  assert.equal(leased(), ['10.0.0.7', '10.0.0.8', '10.0.0.9'])
  collect(dir, 'net', [owner('a')])
  assert.equal([leased(), existsSync(outside)], [['10.0.0.7'], true])
})
test('what a killed run has not finished is cleared, and one bad name does not stop collect()', () => {
  take('a', { subnet: '10.0.0.0/24' })
  writeFileSync(join(dir, 'ipam/net/.owners/.new-b:eth0'), '{"cont')
  take('b', { subnet: '10.0.0.0/24' })
  writeFileSync(join(dir, 'ipam/net/.owners/.new-c:eth0'), '')
  mkdirSync(join(dir, 'ipam/net/.owners/a-directory'))
  assert.throws(() => collect(dir, 'net', []), /Cannot collect leases/)
  assert.equal([leased(), readdirSync(join(dir, 'ipam/net/.owners'))], [[], ['a-directory']])
})
test("names that are no canonical address are nobody's lease", () => {
  take('a', { subnet: '10.0.0.5/32' })
  writeFileSync(join(dir, 'ipam/net/FD00::1'), '')
  appendFileSync(ownerFile('a'), '../../../x\nFD00::1\n')
  collect(dir, 'net', [])
  assert.equal(leased(), ['FD00::1'])
})
test('a directory that cannot be written is code 5, and names the file', () => {
  writeFileSync(join(dir, 'ipam'), '')
  const isFileError = (error: { code: number; message: string }) => error.code === 5 && /ENOTDIR/.test(error.message)
  assert.throws(() => take('a', { subnet: '10.0.0.0/24' }), isFileError)
  release(dir, 'net', owner('a'))
})
test('a full disk leaves nothing, and the next lease is given when there is room', () => {
  const source = `
    import { readdirSync, rmSync, writeFileSync } from 'node:fs'
    import { acquire } from '${new URL('../../src/ipam/lease.ts', import.meta.url)}'
    import { parseIpam } from '${new URL('../../src/ipam/pool.ts', import.meta.url)}'
    const take = id => acquire('${dir}', 'net', { containerID: id, ifname: 'eth0' }, parseIpam({ subnet: '10.0.0.0/24' }), [])
    const seen = []
    take('first')
    try { writeFileSync('${dir}/filler', Buffer.alloc(1 << 20)) } catch {}
    try { take('a') } catch ({ code, message }) { seen.push(code, /ENOSPC/.test(message)) }
    seen.push(readdirSync('${dir}/ipam/net/.owners').length, readdirSync('${dir}/ipam/net').length)
    rmSync('${dir}/filler')
    seen.push(take('a').ips.length)
    console.log(JSON.stringify(seen))`
  const script = `mount -t tmpfs -o size=64k tmpfs '${dir}' && exec "$0" --input-type=module -e "$1"`
  const { stdout, stderr } = spawnSync('unshare', ['-m', 'sh', '-c', script, process.execPath, source], { encoding: 'utf8' })
  assert.equal(stdout.trim(), '[5,true,1,2,1]', stderr)
})
test('parseResolvConf() reads resolv.conf(5)', () => {
  assert.equal(parseResolvConf('# c\nnameserver 10.0.0.1 ; c\nnameserver fd00::1\nsearch a b\noptions ndots:5\ndomain c\n'), {
    nameservers: ['10.0.0.1', 'fd00::1'],
    search: ['a', 'b'],
    options: ['ndots:5'],
    domain: 'c',
  })
})

test.run()
