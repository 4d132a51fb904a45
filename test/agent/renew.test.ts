/**
 * An agent that renews itself is the same process with the same descriptors: nobody who uses it or
 * its wires notices.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { copyFileSync, readFileSync, readlinkSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { ask } from '../../src/agent/client.ts'
import { logPath } from '../../src/agent/protocol.ts'
import { EXECUTABLES, eventually, Lab, pings } from '../support.ts'
import { alive, holder, startAgent, status } from './agents.ts'

const test = suite('renew')

function outputOf(child: ChildProcess): Promise<string> {
  let text = ''
  child.stdout!.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
  return new Promise(done => child.on('close', () => done(text)))
}

/** Puts a file in the place of an executable that runs, as an upgrade does. */
function install(from: string, to: string): void {
  copyFileSync(from, `${to}.new`)
  renameSync(`${to}.new`, to)
}

/** How often the log of an agent that the plugin started says that it was renewed. */
const renewals = (lab: Lab) => readFileSync(logPath(lab.dataDir), 'utf8').split('agent serves, renewed').length - 1

for (const [name, executable] of EXECUTABLES) {
  test(`${name}: renewed three times, of 1,000 pings a second none is lost, and no call fails`, async () => {
    using lab = new Lab(executable)
    const [pod, other, third] = [lab.netns(), lab.netns(), lab.netns()]
    // The devices' queues hold what comes while the program starts. The default, 500 packets, is
    // half a second of this: less than Node takes on a busy machine.
    const conf = { agent: { idleSeconds: 60 }, txQLen: 2000 }
    lab.must('ADD', pod, conf)
    lab.must('ADD', third, conf)
    const pid = holder(lab)!
    const pinging = outputOf(
      spawn('ip', ['netns', 'exec', pod, 'ping', '-q', '-i', '0.001', '-c', '4000', '10.66.0.1'], {
        stdio: ['ignore', 'pipe', 'inherit'],
      }),
    )
    let over = false
    const calling = (async () => {
      for (let calls = 0; !over || calls < 3; calls++) {
        await lab.mustBeside('ADD', other, conf)
        await lab.mustBeside('DEL', other, conf)
      }
    })()
    const asking = (async () => {
      for (; !over; await sleep(5)) assert.is((await status(lab)).pid, pid)
    })()
    try {
      for (let renewed = 1; renewed <= 3; renewed++) {
        process.kill(pid, 'SIGHUP')
        await eventually('it is renewed', () => renewals(lab) === renewed)
      }
    } finally {
      over = true
      await Promise.all([calling, asking])
    }
    assert.match(await pinging, /4000 packets transmitted, 4000 received/)
    assert.is(holder(lab), pid)
    assert.is((await status(lab)).links, 2)
    for (const link of [pod, third]) assert.ok(pings(link, '10.66.0.1'))
    for (const link of [pod, third]) lab.must('DEL', link, conf)
    assert.equal([...lab.links(lab.node), ...lab.links(pod), ...lab.files()], [])
    process.kill(pid, 'SIGTERM')
    await eventually('a renewed agent ends when told to', () => !alive(pid))
  })

  test(`${name}: is outdated when its file is replaced, and then renewed from it; not otherwise`, async () => {
    using lab = new Lab(executable)
    const installed = join(lab.dataDir, name)
    install(executable, installed)
    lab.executable = installed
    const pid = await startAgent(lab, '--wire', 'epoll', '--idle-exit', '60')
    const pod = lab.netns()
    lab.must('ADD', pod, { wire: 'thread' })
    const before = await status(lab)
    assert.equal([before.threadMode, before.links, before.outdated], ['epoll', 1, false])
    assert.equal(await ask(lab.dataDir, { op: 'renew' }), { renewed: false })
    install(executable, installed)
    assert.is((await status(lab)).outdated, true)
    assert.equal(await ask(lab.dataDir, { op: 'renew' }), { renewed: true })
    assert.equal(await status(lab), before)
    if (name === 'tunlink') assert.is(readlinkSync(`/proc/${pid}/exe`), installed, 'what runs is what is installed')
    assert.ok(pings(pod, '10.66.0.1'))
  })
}

test('an executable that is no good is not taken: the agent says why and goes on', async () => {
  using lab = new Lab()
  const installed = join(lab.dataDir, 'tunlink')
  install(EXECUTABLES[0]![1], installed)
  lab.executable = installed
  const pid = await startAgent(lab, '--idle-exit', '60')
  const pod = lab.netns()
  lab.must('ADD', pod)
  for (const [content, why] of [
    ['#!/bin/sh\necho 1\n', /speaks agent protocol "1", not "2"/],
    ['#!/bin/sh\nexit 3\n', /cannot renew itself/],
    ['', /cannot renew itself/],
  ] as const) {
    rmSync(installed)
    writeFileSync(installed, content, { mode: 0o755 })
    const refusal = await ask(lab.dataDir, { op: 'renew' }).then(
      () => undefined,
      error => error,
    )
    assert.is(refusal?.code, 11)
    assert.match(refusal.message, why)
    assert.is((await status(lab)).pid, pid)
  }
  rmSync(installed)
  process.kill(pid, 'SIGHUP') // there is nothing to execute
  await sleep(500)
  assert.is((await status(lab)).links, 1)
  assert.ok(pings(pod, '10.66.0.1'))
})

test.run()
