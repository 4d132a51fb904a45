/**
 * Where the kernel refuses what the kernel wire needs: "auto" takes a thread, and all say why. What
 * a kernel lacks is said by `tunlink status`.
 */
import { execFileSync, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { constants, release } from 'node:os'
import { dirname, join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { socketPath } from '../../src/agent/protocol.ts'
import { SYS_BPF } from '../../src/linux/bpf.ts'
import { EXECUTABLES, eventually, Lab, pings } from '../support.ts'

const test = suite('refusals')

const without = (call: string, errno: number) => [process.execPath, join(import.meta.dirname, 'without-syscall.ts'), call, String(errno)]

/** What `tunlink status` prints: the agent is asked, which was started under the same filter. */
const statusOf = (lab: Lab) =>
  JSON.parse(
    execFileSync(lab.executable, ['status', '--data-dir', lab.dataDir], {
      encoding: 'utf8',
      env: { PATH: `${dirname(process.execPath)}:${process.env.PATH}` },
    }),
  )

for (const [name, executable] of EXECUTABLES)
  for (const [errno, words] of [
    [constants.errno.EPERM, /bpf.*(EPERM|not permitted)/i],
    [constants.errno.ENOSYS, /bpf.*(ENOSYS|not implemented)/i],
  ] as const)
    test(`${name}: bpf(2) is refused (${errno}): a thread, or code 50, and the reason everywhere`, () => {
      using lab = new Lab(executable)
      const pod = lab.netns()
      lab.wrapper = without(String(SYS_BPF), errno)
      const refused = lab.cni('ADD', pod, { wire: 'kernel' })
      assert.is(refused.json.code, 50)
      assert.match(refused.json.msg + refused.json.details, words)
      assert.equal(lab.links(pod), [])
      const status = lab.cni('STATUS', pod, { wire: 'kernel' })
      assert.is(status.json.code, 50)
      assert.match(status.json.msg + status.json.details, words)

      lab.must('STATUS', pod)
      lab.must('ADD', pod)
      assert.ok(pings(pod, '10.66.0.1'))
      const { wire, refusals } = statusOf(lab)
      assert.is.not(wire, 'kernel')
      assert.match(refusals.kernel, words)

      lab.must('DEL', pod)
      assert.equal(lab.links(pod), [])
    })

// <asm/unistd.h>, <linux/if_tun.h>, <linux/netlink.h>
const isArm = process.arch === 'arm64'
const SYS_IOCTL = isArm ? 29 : 16
const SYS_SOCKET = isArm ? 198 : 41
const SYS_IO_URING_SETUP = 425
const OFFLOADS_WITH_USO = 0x6f // CSUM, TSO4, TSO6, TSO_ECN, USO4, USO6
const NETLINK_NETFILTER = 12

/** What is refused, the key of `tunlink status` that tells of it, and whether links are made. */
const LACKS: [what: string, call: string, errno: number, key: string, words: RegExp, added: boolean][] = [
  ['io_uring', `${SYS_IO_URING_SETUP}`, constants.errno.EPERM, 'io_uring', /io_uring_setup: EPERM/, true],
  ['io_uring', `${SYS_IO_URING_SETUP}`, constants.errno.ENOSYS, 'io_uring', /io_uring_setup: ENOSYS/, true],
  ['USO', `${SYS_IOCTL}:2=${OFFLOADS_WITH_USO}`, constants.errno.EINVAL, 'uso', /lacks TUN_F_USO4 .*Linux 6\.2/, true],
  ['nf_tables', `${SYS_SOCKET}:2=${NETLINK_NETFILTER}`, constants.errno.EPROTONOSUPPORT, 'firewall', /no nfnetlink/, false],
]
for (const [what, call, errno, key, words, added] of LACKS)
  test(`a kernel without ${what} (${errno}): tunlink status says so, and links are ${added ? 'made' : 'refused'}`, async () => {
    using lab = new Lab()
    const agent = spawn('ip', ['netns', 'exec', lab.node, ...without(call, errno), lab.executable, 'agent', '--data-dir', lab.dataDir], {
      stdio: 'ignore',
      env: { PATH: process.env.PATH },
    })
    const ended = new Promise(done => agent.on('close', done))
    try {
      await eventually('the agent serves', () => existsSync(socketPath(lab.dataDir)))
      const { refusals } = statusOf(lab)
      assert.match(refusals[key], words)
      assert.is(statusOf(lab).refusals.kernel, undefined)
      const pod = lab.netns()
      for (const wire of ['kernel', 'thread']) {
        assert.is(lab.cni('ADD', pod, { wire }).status, added ? 0 : 1, wire)
        if (added) assert.ok(pings(pod, '10.66.0.1'), wire)
        lab.must('DEL', pod, { wire })
        assert.equal([...lab.podLinks(pod), ...lab.files()], [], wire)
      }
    } finally {
      agent.kill('SIGKILL')
      await ended
    }
  })
test('a kernel that has all of it: tunlink status names no refusal', () => {
  using lab = new Lab()
  lab.must('ADD', lab.netns())
  const { refusals } = statusOf(lab)
  const [major, minor] = release().split('.').map(Number) as [number, number]
  // of USO and io_uring: see the kernels in docs/compatibility.md
  const wanted = major > 6 || (major === 6 && minor >= 7) ? [] : ['uso', 'io_uring']
  assert.equal(
    Object.keys(refusals).filter(key => !wanted.includes(key)),
    [],
  )
})

test.run()
