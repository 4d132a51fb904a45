/** What is garbage, and what only looks like it. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { LinkPlan } from '../../src/link/plan.ts'
import { hostIfname } from '../../src/link/plan.ts'
import { isAbandoned, strayDevices, strayLeases } from '../../src/node/garbage.ts'

const test = suite('garbage')
const attachment = { network: 'tunlink', containerID: 'abc', ifname: 'eth0' }
const name = hostIfname(attachment)
const plan = (netns: string) => ({ ...attachment, netns, host: { ifname: name, addresses: [], routes: [] } }) as unknown as LinkPlan
const device = { index: 5, name, alias: 'tunlink:tunlink/abc/eth0', kind: 'tun', running: false }

test('isAbandoned() judges the paths of runtimes only: another process’s /proc is not seen from a container', () => {
  for (const [netns, exists, abandoned] of [
    ['/run/netns/cni-1', false, true],
    ['/var/run/netns/cni-1', false, true],
    ['/run/netns/cni-1', true, false],
    ['/proc/77/ns/net', false, false],
  ] as const)
    assert.is(
      isAbandoned(plan(netns), () => exists),
      abandoned,
      netns,
    )
})
test('strayDevices() are ours, of our network, unserved, and on no record', () => {
  assert.equal(strayDevices([device], []), [device])
  assert.equal(strayDevices([device], [plan('/run/netns/x')]), [])
  for (const other of [
    { ...device, running: true },
    { ...device, kind: 'veth' },
    { ...device, name: 'tl0' },
    { ...device, alias: 'tunlink:vpn/abc/eth0' },
    { index: 5, name, kind: 'tun', running: false },
  ])
    assert.equal(strayDevices([other], []), [])
})
test('strayLeases() are old and on no record', () => {
  const owner = { containerID: 'abc', ifname: 'eth0', sinceMs: 0 }
  assert.equal(strayLeases([owner], [], 3_600_000), [owner])
  assert.equal(strayLeases([owner], [], 5_000), [], 'its ADD may be under way')
  assert.equal(strayLeases([owner], [plan('/run/netns/x')], 3_600_000), [])
})

test.run()
