/** An agent whose threads cannot be started: `threadless.ts agent DATADIR`. */
import { join } from 'node:path'
import { runAgent } from '../../src/agent/start.ts'

const wires = { entry: join(import.meta.dirname, 'absent.ts'), mode: 'epoll' as const }
if (await runAgent({ dataDir: process.argv[3]!, idleSeconds: 30, leaveCgroup: false, wires })) console.log('serves')
