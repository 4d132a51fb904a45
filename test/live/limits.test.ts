/**
 * The thread wire where the machine gives little: it works within the limits, or says what is
 * missing.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import { dirname, join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { startAgent } from '../agent/agents.ts'
import { EXECUTABLES, eventually, Lab, pings } from '../support.ts'

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

/** A new cgroup where pids.max can be set, of version 1 or 2; undefined where there is none. */
function pidsGroup(): string | undefined {
  const root = ['/sys/fs/cgroup/pids', '/sys/fs/cgroup'].find(path => existsSync(join(path, 'cgroup.procs')))
  if (root === undefined) return undefined
  const group = join(root, `tunlink-test-${process.pid}`)
  mkdirSync(group)
  if (existsSync(join(group, 'pids.max'))) return group
  rmdirSync(group)
  return undefined
}

const group = pidsGroup()
test.after(() => void (group !== undefined && rmdirSync(group)))

/** pids.max is the same to a process as kernel.threads-max: clone(2) gives EAGAIN. */
;(group === undefined ? test.skip : test)(
  'pids.max of an agent used up: kernel wires go on, thread wires come when there is room or by another agent (cgroup pids)',
  async () => {
    const lab = new Lab()
    try {
      const [pod, other] = [lab.netns(), lab.netns()]
      const pid = await startAgent(lab)
      writeFileSync(join(group!, 'cgroup.procs'), String(pid))
      writeFileSync(join(group!, 'pids.max'), readFileSync(join(group!, 'pids.current'), 'utf8'))
      lab.must('ADD', pod, { wire: 'thread' })
      // 51 as long as this agent tries in vain; its runtime may end itself, and STATUS starts
      // another
      const { status, json } = lab.cni('STATUS', pod)
      assert.ok(status === 0 || json.code === 51, JSON.stringify(json))
      lab.must('ADD', other, { wire: 'kernel' })
      assert.ok(pings(other, '10.66.0.1'))
      writeFileSync(join(group!, 'pids.max'), 'max')
      await eventually('STATUS is well', () => lab.cni('STATUS', pod).status === 0)
      await eventually('the pod has its network', () => pings(pod, '10.66.0.1'))
    } finally {
      lab.close()
      await eventually('the agent has ended', () => readFileSync(join(group!, 'cgroup.procs'), 'utf8') === '')
    }
  },
)

// <asm/unistd.h>
const SYS_INOTIFY_INIT1 = process.arch === 'arm64' ? 26 : 294
for (const [name, executable] of EXECUTABLES)
  test(`${name}: no inotify instance is left (fs.inotify.max_user_instances): an agent serves all the same`, () => {
    const lab = new Lab(executable)
    try {
      const pod = lab.netns()
      const errno = String(constants.errno.EMFILE)
      lab.wrapper = [process.execPath, join(import.meta.dirname, 'without-syscall.ts'), String(SYS_INOTIFY_INIT1), errno]
      for (const wire of ['kernel', 'thread']) {
        lab.must('ADD', pod, { wire })
        assert.is(statusOf(lab).links, 1)
        assert.ok(pings(pod, '10.66.0.1'))
        lab.must('DEL', pod, { wire })
      }
    } finally {
      lab.close()
    }
  })

test.run()
