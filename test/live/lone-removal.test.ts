/** DEL by the plugin itself: of a link whose record is broken, and of one that an agent holds. */
import { readdirSync, readlinkSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { socketPath } from '../../src/agent/protocol.ts'
import { startAgent } from '../agent/agents.ts'
import { eventually, inside, Lab } from '../support.ts'

const test = suite('lone removal')
const LONE = { agent: { spawn: false } }

test('a broken record: both ends go, as DEL knows the namespace', () => {
  using lab = new Lab()
  const pod = lab.netns()
  lab.must('ADD', pod, LONE)
  writeFileSync(join(lab.dataDir, 'links/net', `${pod}:eth0.json`), '{')
  lab.must('DEL', pod, LONE)
  assert.equal([...lab.links(pod), ...lab.links(lab.node), ...lab.files()], [])
})

test('a kernel wire whose pod has moved the veth end away: all of it goes', () => {
  using lab = new Lab()
  const [pod, elsewhere] = [lab.netns(), lab.netns()]
  lab.must('ADD', pod, LONE)
  const [veth] = lab.links(pod).filter(name => name !== 'eth0')
  inside(pod, 'ip', 'link', 'set', veth!, 'netns', `/run/netns/${elsewhere}`)
  lab.must('DEL', pod, LONE)
  assert.equal([...lab.links(pod), ...lab.links(elsewhere), ...lab.links(lab.node), ...lab.files()], [])
})

test('an agent lets go of a link that a plugin has removed by itself', async () => {
  using lab = new Lab()
  const [pod, other] = [lab.netns(), lab.netns()]
  const pid = await startAgent(lab)
  const isTun = (fd: string) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`) === '/dev/net/tun'
    } catch {
      return false // it was the directory's own
    }
  }
  const held = () => readdirSync(`/proc/${pid}/fd`).filter(isTun).length
  const socket = socketPath(lab.dataDir)
  const delAlone = () => {
    renameSync(socket, `${socket}.away`)
    lab.must('DEL', pod, LONE)
    renameSync(`${socket}.away`, socket)
  }
  lab.must('ADD', other)
  lab.must('ADD', pod)
  assert.is(held(), 2)
  delAlone()
  lab.must('ADD', pod)
  assert.is(held(), 2, 'the descriptor of the link before is closed')
  delAlone()
  lab.netns() // the agent looks at what it holds when a namespace comes or goes
  await eventually('it holds the other link alone', () => held() === 1)
  lab.must('ADD', pod)
  assert.is(held(), 2)
})

test.run()
