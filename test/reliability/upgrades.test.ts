/**
 * What another version left or asks: links of 0.1.0 are kept, checked, collected and deleted; an
 * agent and a plugin of different versions refuse each other in words; a record of a version to
 * come is named and left alone.
 */
import { spawn } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { socketPath } from '../../src/agent/protocol.ts'
import { alive, holder, startAgent, status } from '../agent/agents.ts'
import { EXECUTABLES, eventually, ip, Lab, pings } from '../support.ts'
import { nftElements, nodeEnds } from './kernel-state.ts'
import { fixture, makeOldLink, resultOf } from './old-links.ts'

const test = suite('upgrades')
const OLD_POOL = { ipam: { type: 'tunlink', ranges: [[{ subnet: '10.66.0.0/24' }], [{ subnet: 'fd66::/64' }]] } }
const HOST = { ...OLD_POOL, ipMasq: true }
const ATTACH = { ...OLD_POOL, farEnd: 'attach', owner: 1000 }

const testWithLab = (name: string, body: (lab: Lab) => Promise<void>, executable?: string) =>
  test(name, async () => {
    using lab = new Lab(executable)
    await body(lab)
  })

const env = (containerID: string) => ({ CNI_CONTAINERID: containerID })

/** What stands for the agent of 0.1.0: it has the lock, and answers as that one did. */
async function oldAgent(lab: Lab): Promise<number> {
  const child = spawn(process.execPath, [join(import.meta.dirname, '../agent/old-agent.ts'), lab.dataDir], { stdio: 'inherit' })
  await eventually('the old agent listens', () => existsSync(socketPath(lab.dataDir)))
  return child.pid!
}

/** The agent's answer to a line; undefined when it closes the connection without one. */
function tell(lab: Lab, line: string): Promise<string | undefined> {
  return new Promise((done, fail) => {
    const socket = connect(socketPath(lab.dataDir), () => socket.write(`${line}\n`))
    let text = ''
    socket.on('error', fail)
    socket.on('data', chunk => {
      text += chunk
      if (text.includes('\n')) socket.destroy()
    })
    socket.on('close', () => done(text === '' ? undefined : text.trim()))
  })
}

for (const [name, executable] of EXECUTABLES)
  testWithLab(
    `${name}: links of 0.1.0 are kept and carry packets, CHECK finds them whole, DEL removes all`,
    async lab => {
      const [host, attach] = [lab.netns(), lab.netns()]
      const old = { host: makeOldLink(lab, 'c-host', host), attach: makeOldLink(lab, 'c-attach', attach) }
      const wasOldAgent = await oldAgent(lab)
      await startAgent(lab)
      assert.not.ok(alive(wasOldAgent))
      assert.ok(pings(host, '10.66.0.1') && pings(host, 'fd66::1'))
      assert.equal(nftElements(lab.node), {
        links: ['tl5615ca27a67a3'],
        masq4: ['10.66.0.123'],
        masq6: ['fd66::839e:33f9:5ca5:9dcf'],
      })
      lab.must('CHECK', host, { ...HOST, prevResult: resultOf(old.host) }, env('c-host'))
      lab.must('CHECK', attach, { ...ATTACH, prevResult: resultOf(old.attach) }, env('c-attach'))
      lab.must('DEL', host, { ...HOST, prevResult: resultOf(old.host) }, env('c-host'))
      lab.must('DEL', attach, ATTACH, env('c-attach'))
      for (const netns of [lab.node, host, attach]) assert.equal(lab.links(netns), [])
      assert.equal(lab.files(), [])
      assert.equal(nftElements(lab.node), { links: [], masq4: [], masq6: [] })
    },
    executable,
  )

testWithLab('without an agent, too, CHECK says what a link of 0.1.0 lacks, and DEL removes it', async lab => {
  const pod = lab.netns()
  const record = makeOldLink(lab, 'c-host', pod)
  const { status: failed, json } = lab.cni('CHECK', pod, { ...HOST, prevResult: resultOf(record), agent: { spawn: false } }, env('c-host'))
  assert.is(failed, 1)
  assert.match(`${json.msg} ${json.details}`, /no agent answers at .*agent\.sock, so tl5615ca27a67a3 carries nothing/)
  lab.must('DEL', pod, { ...HOST, agent: { spawn: false } }, env('c-host'))
  assert.equal([...lab.links(lab.node), ...lab.links(pod), ...lab.files()], [])
})

testWithLab('GC collects links of 0.1.0 that are not valid and keeps the valid ones', async lab => {
  const [host, attach] = [lab.netns(), lab.netns()]
  makeOldLink(lab, 'c-host', host)
  makeOldLink(lab, 'c-attach', attach)
  const gc = (...ids: string[]) =>
    lab.must('GC', host, { ...HOST, 'cni.dev/valid-attachments': ids.map(containerID => ({ containerID, ifname: 'eth0' })) })
  gc('c-host', 'c-attach')
  assert.equal(lab.files().length, 8)
  gc('c-host')
  assert.equal([lab.podLinks(host), lab.links(attach), nodeEnds(lab)], [['eth0'], [], ['tl5615ca27a67a3']])
  gc()
  assert.equal([...lab.links(lab.node), ...lab.links(host), ...lab.files()], [])
})

testWithLab('beside links of 0.1.0 an ADD gets no address of theirs, and ends the agent of 0.1.0', async lab => {
  const [old, pod] = [lab.netns(), lab.netns()]
  const record = makeOldLink(lab, 'c-host', old)
  const wasOldAgent = await oldAgent(lab)
  const checked = lab.cni('CHECK', old, { ...HOST, prevResult: resultOf(record) }, env('c-host'))
  assert.is(checked.json.code, 11)
  assert.match(checked.json.msg, /the agent at .* is of another version: it answered with "protocol" null, not \d+/)
  // Of what the old pool had, but for its addresses, one is left for each family.
  const ranges = [
    [{ subnet: '10.66.0.0/24', rangeStart: '10.66.0.123', rangeEnd: '10.66.0.124' }],
    [{ subnet: 'fd66::/64', rangeStart: 'fd66::839e:33f9:5ca5:9dcf', rangeEnd: 'fd66::839e:33f9:5ca5:9dd0' }],
  ]
  const { json } = lab.must('ADD', pod, { ...HOST, ipam: { type: 'tunlink', ranges } })
  assert.equal(
    json.ips.map(({ address }: { address: string }) => address),
    ['10.66.0.124/32', 'fd66::839e:33f9:5ca5:9dd0/128'],
  )
  await eventually('the old agent has ended', () => !alive(wasOldAgent))
  await eventually('the links are the new agent’s', () => holder(lab) !== undefined)
  assert.is((await status(lab)).links, 2)
  assert.ok(pings(pod, '10.66.0.1') && pings(old, '10.66.0.1'))
})

testWithLab('the agent refuses every request of a plugin of 0.1.0 in words that plugin prints, and does nothing', async lab => {
  const pod = lab.netns()
  makeOldLink(lab, 'c-host', pod)
  await startAgent(lab)
  const state = () => JSON.stringify([lab.links(lab.node), lab.links(pod), lab.files(), nftElements(lab.node), ip(pod, 'route')])
  const before = state()
  for (const line of fixture('requests.jsonl').trim().split('\n')) {
    const { ok, error } = JSON.parse((await tell(lab, line.replace('NETNS', pod)))!)
    assert.equal([ok, error.code], [false, 11], line)
    assert.match(error.msg, /the request is of another version than the agent \(.+\): its "protocol" is null, not \d+/)
    assert.is(error.details, 'install the same version of tunlink in both places')
  }
  assert.is(state(), before)
})

/** A record as a version to come may write it, for a link of this version. */
function fromTheFuture(lab: Lab, pod: string): string {
  const file = join(lab.dataDir, `links/net/${pod}:eth0.json`)
  const future = JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), version: 99, wire: 'light' })
  writeFileSync(file, future)
  return future
}

testWithLab('a record of a version to come is named by CHECK, STATUS goes on, GC and an agent leave link and record', async lab => {
  const [pod, other] = [lab.netns(), lab.netns()]
  const { json: prevResult } = lab.must('ADD', pod)
  const future = fromTheFuture(lab, pod)
  const untouched = () => {
    assert.is(readFileSync(join(lab.dataDir, `links/net/${pod}:eth0.json`), 'utf8'), future)
    assert.ok(pings(pod, '10.66.0.1'))
  }
  const checked = lab.cni('CHECK', pod, { prevResult })
  assert.match(
    checked.json.msg,
    /record .*eth0\.json cannot be used: it is of version 99, of a newer tunlink: this one knows versions up to/,
  )
  const { stderr } = lab.must('GC', pod, { 'cni.dev/valid-attachments': [{ containerID: pod, ifname: 'eth0' }] })
  assert.match(stderr, /it is of version 99/)
  untouched()
  process.kill(holder(lab)!, 'SIGKILL')
  await startAgent(lab)
  untouched()
  lab.must('ADD', other)
  untouched()
})

testWithLab('ADD does not take a link whose record is of a version to come for a broken one; DEL removes it', async lab => {
  const pod = lab.netns()
  lab.must('ADD', pod)
  const future = fromTheFuture(lab, pod)
  const again = lab.cni('ADD', pod)
  assert.is(again.json?.code, 4, again.stdout)
  assert.match(`${again.json.msg} ${again.json.details}`, /of version 99, of a newer tunlink.*DEL it first/)
  assert.is(readFileSync(join(lab.dataDir, `links/net/${pod}:eth0.json`), 'utf8'), future)
  assert.ok(pings(pod, '10.66.0.1'))
  lab.must('DEL', pod)
  assert.equal([...lab.links(lab.node), ...lab.links(pod), ...lab.files()], [])
})

test.run()
