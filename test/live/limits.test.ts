/**
 * The thread wire where the machine gives little: it works within the limits, or says what is
 * missing.
 */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { EXECUTABLES, Lab, pings } from '../support.ts'

const test = suite('limits')

/** What `tunlink status` prints. */
const statusOf = (lab: Lab) =>
  JSON.parse(
    execFileSync(lab.executable, ['status', '--data-dir', lab.dataDir], {
      encoding: 'utf8',
      env: { PATH: `${dirname(process.execPath)}:${process.env.PATH}` },
    }),
  )

for (const [name, executable] of EXECUTABLES) {
  // 4,096 is the kernel's own default of the hard limit, where nobody has raised it.
  for (const files of [4096, 256])
    test(`${name}: a hard limit of ${files} open files: packets pass, and no thread fails`, () => {
      const lab = new Lab(executable)
      try {
        const pod = lab.netns()
        lab.wrapper = ['prlimit', `--nofile=${files}:${files}`]
        lab.must('ADD', pod, { wire: 'thread' })
        assert.ok(pings(pod, '10.66.0.1'))
        const { threadMode, refusals } = statusOf(lab)
        assert.is(threadMode, refusals.io_uring === undefined ? 'io_uring' : 'epoll')
        assert.not.match(refusals.io_uring ?? '', /EMFILE/)
        assert.not.match(readFileSync(join(lab.dataDir, 'agent.log'), 'utf8'), /failed/)
        lab.must('DEL', pod)
      } finally {
        lab.close()
      }
    })
}

test.run()
