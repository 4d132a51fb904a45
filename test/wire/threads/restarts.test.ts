/** When a thread that has failed is started again, and in which mode. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { Restarts } from '../../../src/wire/threads/restarts.ts'

const test = suite('wire: restarts')

test('a thread that fails at once is started after twice the time, up to 10 s', () => {
  const restarts = new Restarts()
  const times = Array.from({ length: 10 }, () => restarts.failed('epoll', 3).afterMs)
  assert.equal(times, [50, 100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000])
})

test('the fifth failure in a row is the last by io_uring', () => {
  const restarts = new Restarts()
  const modes = Array.from({ length: 5 }, () => restarts.failed('io_uring', 3).mode)
  assert.equal(modes, ['io_uring', 'io_uring', 'io_uring', 'io_uring', 'epoll'])
  assert.equal(restarts.failed('epoll', 3), { afterMs: 50, mode: 'epoll' })
})

test('one that ran well for 10 s before it failed begins anew', () => {
  const restarts = new Restarts()
  for (let times = 0; times < 4; times++) restarts.failed('io_uring', 3)
  assert.equal(restarts.failed('io_uring', 10_000), { afterMs: 50, mode: 'io_uring' })
  assert.equal(restarts.failed('io_uring', 9_999), { afterMs: 100, mode: 'io_uring' })
})

test.run()
