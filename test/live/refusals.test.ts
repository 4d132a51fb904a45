/** Where the kernel refuses what the kernel wire needs: "auto" takes a thread, and all say why. */
import { execFileSync } from 'node:child_process'
import { constants } from 'node:os'
import { dirname, join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { SYS_BPF } from '../../src/linux/bpf.ts'
import { EXECUTABLES, Lab, pings } from '../support.ts'

const test = suite('refusals')

const withoutBpf = (errno: number) => [process.execPath, join(import.meta.dirname, 'without-syscall.ts'), String(SYS_BPF), String(errno)]

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
      const lab = new Lab(executable)
      try {
        const pod = lab.netns()
        lab.wrapper = withoutBpf(errno)
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
      } finally {
        lab.close()
      }
    })

test.run()
