/** A wire's thread that has no luck with io_uring. */
import { workerData } from 'node:worker_threads'
import { workerMain } from '../../../src/wire/threads/worker.ts'

if (workerData.mode === 'io_uring') throw new Error('refused by the test')
workerMain()
