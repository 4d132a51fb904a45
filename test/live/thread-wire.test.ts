/**
 * The thread wire: what a link carries arrives whole, by io_uring and by epoll, and goes on when
 * the thread is replaced.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { inNetns } from '../../src/linux/netns.ts'
import { createTun, setOffloads } from '../../src/linux/tun.ts'
import { ioUringRefusal, wiresPerThread } from '../../src/wire/threads/ring.ts'
import type { Mode } from '../../src/wire/threads/table.ts'
import { Wires } from '../../src/wire/threads/wires.ts'
import { output, program, start, transfer } from '../processes.ts'
import { eventually, inside, isSlow, Lab, mebibytes } from '../support.ts'

/** An agent with options of its own; an ADD would start one without. */
async function startAgent(lab: Lab, ...options: string[]): Promise<void> {
  const before = lab.agentPid()
  spawn('ip', ['netns', 'exec', lab.node, lab.executable, 'agent', '--data-dir', lab.dataDir, '--idle-exit', '30', ...options], {
    stdio: 'ignore',
    env: { PATH: `${dirname(process.execPath)}:${process.env.PATH}` },
  })
  await eventually('the agent serves', () => lab.agentPid() !== undefined && lab.agentPid() !== before && status(lab)?.pid !== before)
}

/** What `tunlink status` prints. */
function status(lab: Lab) {
  return lab.run({ CNI_COMMAND: undefined }, '').json ?? JSON.parse(spawnStatus(lab) || 'null')
}

const spawnStatus = (lab: Lab) =>
  spawnSync(lab.executable, ['status', '--data-dir', lab.dataDir], {
    encoding: 'utf8',
    env: { PATH: `${dirname(process.execPath)}:${process.env.PATH}` },
  }).stdout

const test = suite('wire')
const dual = { wire: 'thread', ipam: { type: 'tunlink', ranges: [[{ subnet: '10.66.0.0/24' }], [{ subnet: 'fd66::/64' }]] } }

/** What can be tested here. */
const MODES: Mode[] = ['epoll']
const refusal = ioUringRefusal(wiresPerThread(1024))
if (refusal === undefined) MODES.unshift('io_uring')
else console.log(`SKIPPED: the thread wire by io_uring: ${refusal}`)

for (const mode of MODES) {
  test(`${mode}: TCP both ways at once, IPv4 and IPv6, is byte-identical`, async () => {
    using lab = new Lab()
    await startAgent(lab, '--wire', mode)
    assert.is(status(lab).threadMode, mode)
    const [one, two] = [lab.netns(), lab.netns()]
    const address = (pod: string): string[] =>
      lab.must('ADD', pod, dual).json.ips.map(({ address }: { address: string }) => address.replace(/\/.*/, ''))
    const [[one4], [two4, two6]] = [address(one), address(two)]
    await Promise.all([
      transfer({ from: one, to: two, address: two4!, port: 5001, bytes: mebibytes(256) }),
      transfer({ from: two, to: one, address: one4!, port: 5002, bytes: mebibytes(256) }),
    ])
    await transfer({ from: one, to: two, address: two6!, port: 5003, bytes: mebibytes(64) })
  })

  test(`${mode}: datagrams of every size are echoed, each once, whole and in order`, async () => {
    using lab = new Lab()
    await startAgent(lab, '--wire', mode)
    const pod = lab.netns()
    lab.must('ADD', pod, { wire: 'thread' })
    const echoing = start(lab.node, ...program('datagrams', 'echo', '5000'))
    const echo = output(echoing)
    await eventually('the echo listens', () => echo.text().includes('listening'))
    const result = await output(start(pod, ...program('datagrams', 'ask', '10.66.0.1', '5000', '1472'))).ended
    assert.equal(JSON.parse(result), { sent: 1472, received: 1472, duplicates: 0, reordered: 0, damaged: 0 })
    echoing.kill()
  })

  test(`${mode}: fragments, and MTUs from 68 to 65535`, async () => {
    using lab = new Lab()
    await startAgent(lab, '--wire', mode)
    for (const [mtu, sizes] of [
      [68, [0, 40, 400]],
      [1500, [0, 1472, 1473, 20000, 65000]],
      [65535, [65507]],
    ] as const) {
      const pod = lab.netns()
      lab.must('ADD', pod, { wire: 'thread', mtu, name: `mtu${mtu}`, ipam: { type: 'tunlink', subnet: `10.67.${mtu % 250}.0/24` } })
      for (const size of sizes)
        assert.match(inside(pod, 'ping', '-c', '3', '-i', '0.1', '-W', '2', '-s', String(size), `10.67.${mtu % 250}.1`), / 0% packet loss/)
    }
  })
}

for (const mode of MODES) {
  test(`${mode}: a thread that dies is replaced, its wires open again`, async () => {
    using lab = new Lab()
    const dieFile = join(lab.dataDir, 'die')
    process.env.DIE_FILE = dieFile
    const wires = new Wires({ entry: join(import.meta.dirname, '../wire/threads/dying-entry.ts'), mode, onGone: () => {} })
    try {
      const pod = lab.netns()
      const open = (netns: string, name: string, address: string, peer: string) =>
        inNetns(`/run/netns/${netns}`, () => {
          const fd = createTun({ name, vnetHdr: true })
          setOffloads(fd)
          execFileSync('ip', ['address', 'add', address, 'peer', peer, 'dev', name])
          execFileSync('ip', ['link', 'set', name, 'up'])
          return fd
        })
      wires.add('a', { podFd: open(pod, 'eth0', '10.9.0.2', '10.9.0.1'), hostFd: open(lab.node, 'tlx', '10.9.0.1', '10.9.0.2') })
      // This process answers the wire's messages, so it must not block: no pings() here.
      const ping = async () =>
        (await output(start(pod, 'ping', '-c', '20', '-i', '0.05', '-W', '1', '10.9.0.1')).ended).match(/(\d+) received/)![1]
      /** A thread takes some seconds to start on a slow machine. */
      const untilAnswered = async () => {
        for (let tries = 0; (await ping()) === '0'; tries++) assert.ok(tries < 10, 'it goes on')
      }
      /**
       * ping ends two round trips after its last request: a slow machine may stand still for
       * longer.
       */
      const untilNoneIsLost = async () => {
        for (let tries = 1; ; tries++) {
          const answered = await ping()
          if (answered === '20') return
          assert.ok(isSlow && tries < 5, `${answered} of 20 are answered`)
        }
      }
      await untilAnswered()
      await untilNoneIsLost()
      writeFileSync(dieFile, '')
      await untilAnswered()
      await untilNoneIsLost()
      assert.ok(wires.counters('a')!.podToHost.packets > 40)
    } finally {
      await wires.close()
    }
  })
}

test.run()
