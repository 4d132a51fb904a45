/** A wire's thread, without the rest of the executable. */
import { workerMain } from '../../../src/wire/threads/worker.ts'

workerMain()
