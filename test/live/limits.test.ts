/** Where the machine gives little: links work within the limits, or what is missing is said. */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import { dirname, join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { startAgent } from '../agent/agents.ts'
import { call } from '../reliability/calls.ts'
import { EXECUTABLES, eventually, inside, ip, Lab, pings } from '../support.ts'

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
      using lab = new Lab(executable)
      const pod = lab.netns()
      lab.wrapper = ['prlimit', `--nofile=${files}:${files}`]
      lab.must('ADD', pod, { wire: 'thread' })
      assert.ok(pings(pod, '10.66.0.1'))
      const { threadMode, refusals } = statusOf(lab)
      assert.is(threadMode, refusals.io_uring === undefined ? 'io_uring' : 'epoll')
      assert.not.match(refusals.io_uring ?? '', /EMFILE/)
      assert.not.match(readFileSync(join(lab.dataDir, 'agent.log'), 'utf8'), /failed/)
      lab.must('DEL', pod)
    })
}

/**
 * A new cgroup that limits what `controller` counts, with its directory and the name of the file
 * that holds the limit in cgroups of version 1 and 2; undefined where there is none.
 */
function cgroup(controller: string, v1: string, v2: string): { directory: string; limit: string; remove(): void } | undefined {
  const ofV1 = join('/sys/fs/cgroup', controller)
  const isV1 = existsSync(join(ofV1, 'cgroup.procs'))
  const root = isV1 ? ofV1 : '/sys/fs/cgroup'
  if (!existsSync(join(root, 'cgroup.procs'))) return undefined
  if (!isV1) writeFileSync(join(root, 'cgroup.subtree_control'), `+${controller}`)
  const directory = join(root, `tunlink-test-${process.pid}-${controller}`)
  mkdirSync(directory)
  return { directory, limit: join(directory, isV1 ? v1 : v2), remove: () => rmdirSync(directory) }
}

const pids = cgroup('pids', 'pids.max', 'pids.max')
test.after(() => pids?.remove())

/** pids.max is the same to a process as kernel.threads-max: clone(2) gives EAGAIN. */
for (const [name, executable] of EXECUTABLES)
  (pids === undefined ? test.skip : test)(
    `${name}: pids.max of an agent used up: kernel wires go on; an ADD of a thread wire says so, or has another agent (cgroup pids)`,
    async () => {
      try {
        using lab = new Lab(executable)
        const [pod, other] = [lab.netns(), lab.netns()]
        const pid = await startAgent(lab)
        writeFileSync(join(pids!.directory, 'cgroup.procs'), String(pid))
        writeFileSync(pids!.limit, readFileSync(join(pids!.directory, 'pids.current'), 'utf8'))
        // An agent whose runtime ends itself where it gets no thread leaves the link to the next.
        const { status, json } = lab.cni('ADD', pod, { wire: 'thread' })
        if (status !== 0) {
          assert.is(json.code, 11)
          assert.match(json.msg, /no thread carries the link's packets/)
          assert.equal(lab.links(pod), [])
        } else assert.ok(pings(pod, '10.66.0.1'), 'it says that it carries packets')
        lab.must('ADD', other, { wire: 'kernel' })
        assert.ok(pings(other, '10.66.0.1'))
        lab.must('DEL', other, { wire: 'kernel' })
        assert.equal(lab.links(other), [])
        writeFileSync(pids!.limit, 'max')
        if (status !== 0) lab.must('ADD', pod, { wire: 'thread' })
        assert.ok(pings(pod, '10.66.0.1'))
        assert.is(lab.cni('STATUS', pod).status, 0)
      } finally {
        writeFileSync(pids!.limit, 'max')
        await eventually('the agent has ended', () => readFileSync(join(pids!.directory, 'cgroup.procs'), 'utf8') === '')
      }
    },
  )

// <asm/unistd.h>
const SYS_INOTIFY_INIT1 = process.arch === 'arm64' ? 26 : 294
for (const [name, executable] of EXECUTABLES)
  test(`${name}: no inotify instance is left (fs.inotify.max_user_instances): an agent serves all the same`, () => {
    using lab = new Lab(executable)
    const pod = lab.netns()
    const errno = String(constants.errno.EMFILE)
    lab.wrapper = [process.execPath, join(import.meta.dirname, 'without-syscall.ts'), String(SYS_INOTIFY_INIT1), errno]
    for (const wire of ['kernel', 'thread']) {
      lab.must('ADD', pod, { wire })
      assert.is(statusOf(lab).links, 1)
      assert.ok(pings(pod, '10.66.0.1'))
      lab.must('DEL', pod, { wire })
    }
  })

const memory = cgroup('memory', 'memory.limit_in_bytes', 'memory.max')
test.after(() => memory?.remove())

/** The runtime's own cgroup is where a plugin runs; its agent does not stay there. */
for (const mebibytes of [1, 3, 8])
  (memory === undefined ? test.skip : test)(
    `${mebibytes} MiB of memory for the plugin's process: it ends with the link or without, and DEL leaves nothing (cgroup memory)`,
    async () => {
      {
        using lab = new Lab()
        const [pod, other] = [lab.netns(), lab.netns()]
        lab.must('ADD', other, {})
        writeFileSync(memory!.limit, String(mebibytes << 20))
        // `ip netns exec` hides /sys/fs/cgroup
        const joined = ['sh', '-c', 'echo $$ >"$0/cgroup.procs" && exec "$@"', memory!.directory]
        lab.wrapper = ['nsenter', `--mount=/proc/${process.pid}/ns/mnt`, ...joined]
        const { status, stdout } = lab.cni('ADD', pod, {})
        if (mebibytes === 1) assert.is(status, null, 'killed')
        assert.ok(status !== 0 || pings(pod, '10.66.0.1'), stdout)
        lab.wrapper = []
        assert.ok(pings(other, '10.66.0.1'))
        lab.must('DEL', pod, {})
        assert.equal(
          ip(pod, 'link').map(({ ifname }: { ifname: string }) => ifname),
          ['lo'],
        )
        lab.must('ADD', pod, {})
        assert.ok(pings(pod, '10.66.0.1'))
      }
      await eventually('nobody is left there', () => readFileSync(join(memory!.directory, 'cgroup.procs'), 'utf8') === '')
    },
  )

test('net.core.somaxconn 1: of 20 ADDs at once each gets its link, by the agent or without', async () => {
  using lab = new Lab()
  inside(lab.node, 'sysctl', '-qw', 'net.core.somaxconn=1')
  lab.must('ADD', lab.netns(), {})
  const pods = Array.from({ length: 20 }, () => lab.netns())
  const all = (command: 'ADD' | 'DEL') =>
    Promise.all(pods.map((netns, index) => call(lab, { command, containerID: `c${index}`, netns, conf: {} })))
  for (const { status, text } of await all('ADD')) assert.is(status, 0, text)
  for (const pod of pods) assert.ok(pings(pod, '10.66.0.1'))
  for (const { status, text } of await all('DEL')) assert.is(status, 0, text)
})

test.run()
