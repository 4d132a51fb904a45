/** Who ends an agent ends that one alone: not its successor, and not who else ends it. */
import { type ChildProcess, spawn } from 'node:child_process'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { endAgent } from '../../src/agent/end.ts'
import { lockPath } from '../../src/agent/protocol.ts'
import { lockersOf, lockHolder, openLock, tryLock } from '../../src/linux/lock.ts'
import { inDirectory } from '../directory.ts'
import { eventually } from '../support.ts'
import { alive } from './agents.ts'

const test = suite('end')

/** Has the lock as soon as it is free, until it is ended. */
const lockTaker = (dataDir: string): ChildProcess => spawn('flock', ['-F', lockPath(dataDir), 'sleep', '300'], { stdio: 'inherit' })

test('the agent that takes the place of one that is ended is left alone', () =>
  inDirectory(async dataDir => {
    const first = lockTaker(dataDir)
    await eventually('the first has the lock', () => lockHolder(lockPath(dataDir)) === first.pid)
    const successor = lockTaker(dataDir)
    try {
      await eventually('the next waits', () => alive(successor.pid!))
      await new Promise(done => setTimeout(done, 300))
      assert.is(await endAgent(dataDir), true)
      // a process that is about to end gives the lock back a moment before
      await eventually('the first has ended', () => !alive(first.pid!))
      assert.ok(alive(successor.pid!))
      await eventually('the next has the lock', () => lockHolder(lockPath(dataDir)) === successor.pid)
    } finally {
      successor.kill('SIGKILL')
    }
  }))

test('sixteen may end one agent at once: it ends, and they go on', () =>
  inDirectory(async dataDir => {
    const agent = lockTaker(dataDir)
    await eventually('it has the lock', () => lockHolder(lockPath(dataDir)) === agent.pid)
    const ended = await Promise.all(Array.from({ length: 16 }, () => endAgent(dataDir)))
    assert.ok(ended.includes(true))
    await eventually('it has ended', () => !alive(agent.pid!))
    assert.is(await endAgent(dataDir), false)
    assert.ok(tryLock(openLock(lockPath(dataDir))), 'nobody keeps the lock')
  }))

test('who looks whether there is a lock is not who has it', () => {
  const locks = ['1: FLOCK  ADVISORY  WRITE 41 00:2a:7 0 EOF', '2: FLOCK  ADVISORY  READ 42 00:2a:7 0 EOF', ''].join('\n')
  assert.equal(lockersOf(7, locks), [41])
})

test.run()
