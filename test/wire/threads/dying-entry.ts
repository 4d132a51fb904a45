/**
 * A wire's thread that passes packets, and throws when `die` says so: instead of the executable's
 * own entry.
 */
import { existsSync, rmSync } from 'node:fs'
import { workerMain } from '../../../src/wire/threads/worker.ts'

const die = process.env.DIE_FILE!
const original = performance.now.bind(performance)
performance.now = () => {
  if (existsSync(die)) {
    rmSync(die)
    throw new Error('killed by the test')
  }
  return original()
}
workerMain()
