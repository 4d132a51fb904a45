/**
 * An agent at rest rests: it wakes for nothing, sees what vanishes, and ends when it was told to.
 */
import { execFileSync, spawn } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { socketPath } from '../../src/agent/protocol.ts'
import { EXECUTABLES, eventually, Lab } from '../support.ts'
import { alive, holder, status } from './agents.ts'

const test = suite('idle')
/** Engines tidy up for a while. */
const SETTLE_SECONDS = 15
/** A third of the time from one sweep to the next. */
const SECONDS = 40
/** With a poll of a second, or Bun's timer for garbage, it would be more than one. */
const MOST = 1

/** How often each thread of a process has gone to sleep by itself. */
function sleeps(pid: number): Map<string, number> {
  const count = (task: string) =>
    Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/task/${task}/status`, 'utf8'))![1])
  return new Map(readdirSync(`/proc/${pid}/task`).map(task => [task, count(task)]))
}

/** Between two looks; engines end threads that they do not need, so the sums cannot be compared. */
function sleptMeanwhile(before: Map<string, number>, after: Map<string, number>): number {
  return [...after].reduce((sum, [task, count]) => sum + count - (before.get(task) ?? 0), 0)
}

for (const [name, executable] of EXECUTABLES) {
  test(`${name}: with links at rest it wakes at most ${MOST} times a second`, async () => {
    using lab = new Lab(executable)
    const pod = lab.netns()
    // The agent sees no namespaces come and go: others on this machine make them, too. It finds the
    // pod by its process.
    const hidden = `mount -t tmpfs none /run/netns && exec ${executable} agent --data-dir ${lab.dataDir} --idle-exit 1`
    const sleeper = spawn('ip', ['netns', 'exec', pod, 'sleep', '600'])
    const env = { PATH: `${dirname(process.execPath)}:${process.env.PATH}`, BUN_GC_TIMER_DISABLE: '1' }
    const agent = spawn('ip', ['netns', 'exec', lab.node, 'unshare', '-m', 'sh', '-c', hidden], { stdio: 'ignore', env })
    try {
      await eventually('it serves', () => existsSync(socketPath(lab.dataDir)))
      const conf = { ipam: { type: 'tunlink', subnet: '10.66.0.0/24', routes: [] } }
      for (let index = 0; index < 10; index++)
        lab.must('ADD', pod, conf, { CNI_IFNAME: `l${index}`, CNI_NETNS: `/proc/${sleeper.pid}/ns/net` })
      assert.is((await status(lab)).links, 10)
      await sleep(SETTLE_SECONDS * 1000)
      const before = sleeps(agent.pid!)
      await sleep(SECONDS * 1000)
      const perSecond = sleptMeanwhile(before, sleeps(agent.pid!)) / SECONDS
      console.log(`measured: ${name}: ${perSecond.toFixed(2)} wake-ups a second with 10 links at rest`)
      assert.ok(perSecond <= MOST, `${perSecond} a second`)
    } finally {
      agent.kill('SIGKILL')
      sleeper.kill('SIGKILL')
    }
  })

  test(`${name}: a namespace that vanishes is let go of at once, and with the last link the agent ends`, async () => {
    using lab = new Lab(executable)
    const [one, two] = [lab.netns(), lab.netns()]
    lab.must('ADD', one)
    lab.must('ADD', two)
    const pid = holder(lab)!
    execFileSync('ip', ['netns', 'del', one])
    let links = 2
    for (let looks = 0; looks < 60 && links === 2; looks++) {
      await sleep(50)
      links = (await status(lab)).held
    }
    assert.is(links, 1, 'seen within three seconds: the sweep by time comes after two minutes')
    lab.must('DEL', one)
    lab.must('DEL', two)
    await eventually('the agent ends', () => !alive(pid))
  })
}

test.run()
