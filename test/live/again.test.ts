/** An ADD of an attachment that has a record: whether the link on record still exists. */
import { execFileSync } from 'node:child_process'
import { readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { EXECUTABLES, eventually, inside, Lab, pings } from '../support.ts'

const test = suite('again')

const recordOf = (lab: Lab, pod: string) => join(lab.dataDir, `links/net/${pod}:eth0.json`)

const WIRES = { kernel: { wire: 'kernel' }, thread: { wire: 'thread' }, attach: { farEnd: 'attach', owner: 1000 } }

for (const [name, executable] of EXECUTABLES)
  for (const [wire, conf] of Object.entries(WIRES)) {
    test(`${name}, ${wire}: a namespace that has path and inode number of one that is gone gets its link`, async () => {
      using lab = new Lab(executable)
      const pod = lab.netns()
      lab.must('ADD', pod, conf)
      const agent = lab.agentPid()
      if (agent !== undefined) process.kill(agent, 'SIGKILL')
      execFileSync('ip', ['netns', 'del', pod])
      execFileSync('ip', ['netns', 'add', pod])
      // the kernel frees an inode number after the devices, which go a moment after their namespace
      if (wire === 'kernel') await eventually('the devices are gone', () => lab.links(lab.node).length === 0)
      // the kernel gives an inode number again, but not always at once
      const { dev, ino } = statSync(`/run/netns/${pod}`)
      const record = JSON.parse(readFileSync(recordOf(lab, pod), 'utf8'))
      writeFileSync(recordOf(lab, pod), JSON.stringify({ ...record, netnsId: { dev, ino } }))
      lab.must('ADD', pod, conf)
      assert.ok(wire === 'attach' || pings(pod, '10.66.0.1'))
      lab.must('DEL', pod, conf)
      assert.equal([...lab.links(pod), ...lab.links(lab.node), ...lab.files()], [])
    })

    test(`${name}, ${wire}: a second ADD is refused, though the clock was set back or the pod has renamed its interface`, () => {
      using lab = new Lab(executable)
      const pod = lab.netns()
      lab.must('ADD', pod, conf)
      const before = statSync(recordOf(lab, pod)).ino
      const tomorrow = Date.now() / 1000 + 86_400
      utimesSync(recordOf(lab, pod), tomorrow, tomorrow)
      const again = () => {
        const { json } = lab.cni('ADD', pod, conf)
        assert.equal([json.code, json.details], [4, 'DEL it first'])
        assert.is(statSync(recordOf(lab, pod)).ino, before, 'it is the same link')
      }
      again()
      if (wire === 'kernel') {
        inside(pod, 'ip', 'link', 'set', 'eth0', 'name', 'other')
        again()
        inside(pod, 'ip', 'link', 'set', 'other', 'name', 'eth0')
      }
      assert.ok(wire === 'attach' || pings(pod, '10.66.0.1'))
      lab.must('DEL', pod, conf)
    })
  }

test.run()
