/** A wire's thread that cannot start while there is a file. */
import { existsSync } from 'node:fs'
import { workerMain } from '../../../src/wire/threads/worker.ts'

if (existsSync(process.env.HELD_FILE!)) throw new Error('held by the test')
workerMain()
