/** The wall clock is set while something waits, forwards and back: NTP, a machine that resumes. */
import { createServer, type Socket } from 'node:net'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { agentHangs, ask } from '../src/agent/client.ts'
import { socketPath } from '../src/agent/protocol.ts'
import { Stats } from '../src/agent/stats.ts'
import { listenUnix } from '../src/linux/unix-socket.ts'
import { Loop } from '../src/node/loop.ts'
import { remembered } from '../src/wire/choose.ts'
import { inDirectory } from './directory.ts'

const test = suite('clock')

const HOUR_MS = 3_600_000
const now = Date.now
/** From the next reading on, each one is an hour further off. */
function clockRuns(direction: 'forwards' | 'back'): void {
  let readings = 0
  Date.now = () => now() + (direction === 'back' ? -1 : 1) * readings++ * HOUR_MS
}

test.before.each(() => {
  Date.now = now
})
test.after(() => {
  Date.now = now
})

test('an agent that takes no connection hangs after the deadline, though the clock goes back', () =>
  inDirectory(async dataDir => {
    listenUnix(socketPath(dataDir), 0) // nobody accepts
    clockRuns('back')
    const all = [1, 2, 3].map(() => ask(dataDir, { op: 'stats' }, 300).catch((error: Error) => error))
    const tooLate = new Promise(done => setTimeout(done, 10_000, 'too late'))
    const first = await Promise.race([Promise.all(all), tooLate])
    assert.ok(Array.isArray(first) && first.every(agentHangs), String(first))
  }))

test('an agent that closes the first connection has the rest of the deadline, though the clock goes forwards', () =>
  inDirectory(async dataDir => {
    let connections = 0
    const serve = (socket: Socket) => {
      if (++connections === 1) socket.destroy()
      else socket.on('data', () => setTimeout(() => socket.write('{"protocol":2,"ok":true,"verbs":{}}\n'), 100))
    }
    const server = createServer(serve)
    await new Promise<void>(done => server.listen(socketPath(dataDir), done))
    clockRuns('forwards')
    try {
      assert.equal(await ask(dataDir, { op: 'stats' }), { verbs: {} })
    } finally {
      server.close()
    }
  }))

test('a refusal is looked at again after a minute, not after a step of the clock', () => {
  let looks = 0
  const refusal = remembered(() => `refused ${++looks}`)
  clockRuns('forwards')
  assert.equal([refusal(), refusal()], ['refused 1', 'refused 1'])
})

test('sums of durations never fall', () => {
  const stats = new Stats()
  stats.record('ADD', Date.now() + HOUR_MS)
  assert.equal(stats.toJSON().ADD.seconds.sum, 0)
  assert.is(stats.toJSON().ADD.seconds.count, 1)
})

test('the parts of tunlinkd go on when they are due, though the clock goes back', async () => {
  let rounds = 0
  const part = { name: 'a', everyMs: 20, run: () => void (++rounds === 3 && loop.stop()) }
  const loop = new Loop([part], { failed: () => {}, passed: () => {} })
  clockRuns('back')
  const tooLate = setTimeout(() => loop.stop(), 10_000)
  await loop.run()
  clearTimeout(tooLate)
  assert.is(rounds, 3)
})

test.run()
