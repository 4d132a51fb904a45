/** An agent at rest rests: it wakes for nothing, sees what vanishes, and ends when it was told to. */
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { EXECUTABLES, eventually, Lab } from '../support.ts'
import { alive, holder, status } from './agents.ts'

const test = suite('idle')
const SECONDS = 40

/** How often the threads of a process have gone to sleep by themselves. */
function sleeps(pid: number): number {
  const counts = readdirSync(`/proc/${pid}/task`).map(task =>
    Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/task/${task}/status`, 'utf8'))![1]),
  )
  return counts.reduce((sum, count) => sum + count, 0)
}

for (const [name, executable] of EXECUTABLES) {
  test(`${name}: with links at rest it wakes less than 0.3 times a second`, async () => {
    const lab = new Lab(executable)
    try {
      const conf = { agent: { idleSeconds: 1 } }
      for (let count = 0; count < 10; count++) lab.must('ADD', lab.netns(), conf)
      const pid = holder(lab)!
      await sleep(3_000)
      const before = sleeps(pid)
      await sleep(SECONDS * 1000)
      const perSecond = (sleeps(pid) - before) / SECONDS
      console.log(`measured: ${name}: ${perSecond.toFixed(2)} wake-ups a second with 10 links at rest`)
      // Node has a thread of its own that wakes once in a while.
      assert.ok(perSecond <= 0.3, `${perSecond} a second`)
    } finally {
      lab.close()
    }
  })

  test(`${name}: a namespace that vanishes is let go of at once, and with the last link the agent ends`, async () => {
    const lab = new Lab(executable)
    try {
      const [one, two] = [lab.netns(), lab.netns()]
      lab.must('ADD', one)
      lab.must('ADD', two)
      const pid = holder(lab)!
      execFileSync('ip', ['netns', 'del', one])
      let links = 2
      for (let looks = 0; looks < 60 && links === 2; looks++) {
        await sleep(50)
        links = (await status(lab)).links
      }
      assert.is(links, 1, 'seen within three seconds: the sweep by time comes after thirty')
      lab.must('DEL', one)
      lab.must('DEL', two)
      await eventually('the agent ends', () => !alive(pid))
    } finally {
      lab.close()
    }
  })
}

test.run()
