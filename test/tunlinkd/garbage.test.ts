/** What is garbage, and what only looks like it. */
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { createOwnerFile } from '../../src/ipam/owner-file.ts'
import type { LinkPlan } from '../../src/link/plan.ts'
import { hostIfname } from '../../src/link/plan.ts'
import { recordWrite } from '../../src/link/record.ts'
import { NetlinkSocket } from '../../src/linux/netlink.ts'
import { collectGarbage, isAbandoned, isGone, leaseOwners, StrayDevices, strayDevices, strayLeases } from '../../src/node/garbage.ts'

const test = suite('garbage')
const attachment = { network: 'tunlink', containerID: 'abc', ifname: 'eth0' }
const name = hostIfname(attachment)
const plan = (netns: string) => ({ ...attachment, netns, host: { ifname: name, addresses: [], routes: [] } }) as unknown as LinkPlan
const device = { index: 5, name, alias: 'tunlink:tunlink/abc/eth0', kind: 'tun' }

test('isAbandoned() judges the paths of runtimes only: another process’s /proc is not seen from a container', () => {
  for (const [netns, exists, abandoned] of [
    ['/run/netns/cni-1', false, true],
    ['/var/run/netns/cni-1', false, true],
    ['/run/netns/cni-1', true, false],
    ['/proc/77/ns/net', false, false],
  ] as const)
    assert.is(
      isAbandoned(plan(netns), () => !exists),
      abandoned,
      netns,
    )
})
test('isGone() takes another namespace at the same path for gone, and does not judge what is no namespace', () => {
  const directory = mkdtempSync(join(tmpdir(), 'tunlink-gone-'))
  try {
    const netns = join(directory, 'pod')
    assert.is(isGone({ netns }), true)
    writeFileSync(netns, '')
    const { dev, ino } = statSync(netns)
    assert.is(isGone({ netns }), false)
    assert.is(isGone({ netns, netnsId: { dev, ino } }), false)
    assert.is(isGone({ netns, netnsId: { dev, ino: ino + 1 } }), true)
    assert.is(isGone({ netns, netnsId: { dev: dev + 1, ino: ino + 1 } }), false, 'a mount that has not come here')
  } finally {
    rmSync(directory, { recursive: true })
  }
})
test('strayDevices() are of our network, of either wire, and on no record', () => {
  for (const stray of [device, { ...device, kind: 'veth' }]) {
    assert.equal(strayDevices([stray], []), [stray])
    assert.equal(strayDevices([stray], [plan('/run/netns/x')]), [])
  }
  for (const other of [
    { ...device, kind: 'dummy' },
    { ...device, name: 'tl0' },
    { ...device, alias: 'tunlink:vpn/abc/eth0' },
    { index: 5, name, kind: 'tun' },
  ])
    assert.equal(strayDevices([other], []), [])
})
test('StrayDevices.look() gives a device when it is stray in a second look, a minute later', () => {
  const strays = new StrayDevices()
  assert.equal(strays.look([device], 0), [])
  assert.equal(strays.look([device], 5_000), [], 'its ADD or DEL may be under way')
  assert.equal(strays.look([device], 60_000), [device])
  assert.equal(strays.look([], 120_000), [])
  assert.equal(strays.look([device], 180_000), [], 'between them it was on record')
  assert.equal(strays.look([{ ...device, index: 6 }], 240_000), [], 'another device of that name')
})
test('strayLeases() are old and on no record', () => {
  const owner = { containerID: 'abc', ifname: 'eth0', sinceMs: 0 }
  assert.equal(strayLeases([owner], [], 3_600_000), [owner])
  assert.equal(strayLeases([owner], [], 5_000), [], 'its ADD may be under way')
  assert.equal(strayLeases([owner], [plan('/run/netns/x')], 3_600_000), [])
})
test('leaseOwners() are whole files: no draft, nothing cut short, no symbolic link, and one of those hides no other', () => {
  const directory = mkdtempSync(join(tmpdir(), 'tunlink-owners-'))
  try {
    const owners = join(directory, 'ipam/net/.owners')
    mkdirSync(owners, { recursive: true })
    assert.equal(leaseOwners(directory, 'other'), [])
    const text = JSON.stringify({ containerID: 'draft', ifname: 'eth0' })
    writeFileSync(join(owners, '.new-draft:eth0'), text)
    writeFileSync(join(owners, 'cut:eth0'), '{"containerID":"c')
    writeFileSync(join(owners, 'number:eth0'), '{"containerID":5,"ifname":"eth0"}')
    symlinkSync(join(owners, '.new-draft:eth0'), join(owners, 'link:eth0'))
    createOwnerFile(join(owners, 'whole:eth0'), { containerID: 'whole', ifname: 'eth0' }, ['10.66.0.7'])
    utimesSync(join(owners, 'whole:eth0'), 1_000, 1_000)
    assert.equal(leaseOwners(directory, 'net'), [{ containerID: 'whole', ifname: 'eth0', sinceMs: 1_000_000 }])
  } finally {
    rmSync(directory, { recursive: true })
  }
})
test('a link that cannot be removed does not stop the rest', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'tunlink-garbage-'))
  using netlink = new NetlinkSocket()
  try {
    for (const containerID of ['c1', 'c2'])
      recordWrite(dataDir, {
        version: 2,
        network: 'tunlink',
        containerID,
        ifname: 'eth0',
        farEnd: 'attach',
        netns: `/run/netns/no-such-${containerID}`,
        mtu: 1500,
        multiQueue: false,
        pod: { ifname: 'eth0', addresses: [{ local: '10.66.0.2', prefix: 32 }], routes: [] },
        masquerade: [],
      })
    const lease = join(dataDir, 'ipam/tunlink/.owners/old:eth0')
    createOwnerFile(lease, { containerID: 'old', ifname: 'eth0' }, [])
    utimesSync(lease, 1_000, 1_000)
    const removed: string[] = []
    const faults: string[] = []
    const del = async ({ containerID }: { containerID: string }) => {
      if (containerID === 'c1') throw new Error('busy')
      removed.push(containerID)
    }
    const found = await collectGarbage(dataDir, netlink, new StrayDevices(), del, what => faults.push(what))
    assert.equal([removed, faults], [['c2'], ['c1 eth0']])
    assert.equal(found, { links: 1, devices: 0, leases: 1 })
    assert.not(existsSync(lease))
  } finally {
    rmSync(dataDir, { recursive: true })
  }
})

test.run()
