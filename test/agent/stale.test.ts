/**
 * Links that a plugin takes out itself while an agent holds them: it found no agent, and one began
 * to serve at that moment. Here the socket is out of the way for the time of the DEL.
 */
import { readdirSync, readlinkSync, renameSync } from 'node:fs'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { socketPath } from '../../src/agent/protocol.ts'
import { eventually, inside, Lab, pings } from '../support.ts'
import { alive, holder, status } from './agents.ts'

const test = suite('stale')

const testWithLab = (name: string, body: (lab: Lab) => Promise<void>) =>
  test(name, async () => {
    using lab = new Lab()
    await body(lab)
  })

function delWithoutAgent(lab: Lab, pod: string, conf: object): void {
  const path = socketPath(lab.dataDir)
  renameSync(path, `${path}.away`)
  lab.must('DEL', pod, { ...conf, agent: { spawn: false } })
  renameSync(`${path}.away`, path)
}

const tunsOf = (pid: number): number =>
  readdirSync(`/proc/${pid}/fd`).filter(fd => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`) === '/dev/net/tun'
    } catch {
      return false
    }
  }).length

for (const [wire, tuns] of [
  ['kernel', 1],
  ['thread', 2],
] as const)
  testWithLab(`${wire} wire: a link made anew is held in the place of the one that went without the agent`, async lab => {
    const pod = lab.netns()
    const conf = { wire, agent: { idleSeconds: 0 } }
    lab.must('ADD', pod, conf)
    const agent = holder(lab)!
    await eventually('the link is held', () => tunsOf(agent) === tuns)
    for (let round = 0; round < 3; round++) {
      delWithoutAgent(lab, pod, conf)
      lab.must('ADD', pod, conf)
      assert.is(tunsOf(agent), tuns)
      assert.ok(pings(pod, '10.66.0.1'))
    }
    assert.is(holder(lab), agent)
  })

testWithLab('kernel wire: a link that the plugin makes anew is taken up in the place of the one that went', async lab => {
  const pod = lab.netns()
  const conf = { agent: { idleSeconds: 0 } }
  lab.must('ADD', pod, conf)
  const agent = holder(lab)!
  await eventually('the link is held', () => tunsOf(agent) === 1)
  delWithoutAgent(lab, pod, conf)
  // A delegated IPAM is for the plugin's process to run: so that makes the link as well.
  lab.must('ADD', pod, {
    ...conf,
    cniVersion: '1.0.0',
    ipam: { type: 'static', addresses: [{ address: '10.66.0.9/24', gateway: '10.66.0.1' }] },
  })
  assert.is(tunsOf(agent), 1)
  assert.is(lab.links(pod).includes('eth0'), true)
  const [eth0] = JSON.parse(inside(pod, 'ip', '-j', 'link', 'show', 'eth0'))
  assert.ok(eth0.flags.includes('LOWER_UP'), 'the new TUN is held, so it has a carrier')
})

testWithLab('an agent lets go of a link that went without it, and ends when it was the last', async lab => {
  const pod = lab.netns()
  lab.must('ADD', pod)
  const agent = holder(lab)!
  await eventually('the link is held', () => tunsOf(agent) === 1)
  delWithoutAgent(lab, pod, {})
  lab.netns() // which makes the agent look
  await eventually('the descriptor is closed', () => tunsOf(agent) === 0)
  await eventually('the agent has ended', () => !alive(agent), 40)
})

testWithLab('what is held is what is on record, while links come and go', async lab => {
  const pods = Array.from({ length: 3 }, () => lab.netns())
  for (const pod of pods) lab.must('ADD', pod)
  lab.netns()
  assert.is((await status(lab)).held, 3)
})

test.run()
