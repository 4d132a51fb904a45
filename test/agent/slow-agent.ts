/** An agent that is alive, and never done: it has the lock, and answers only "stats". */
import { createServer } from 'node:net'
import { lockPath, PROTOCOL, socketPath } from '../../src/agent/protocol.ts'
import { openLock, tryLock, writeHolder } from '../../src/linux/lock.ts'

const dataDir = process.argv[2]!
const lock = openLock(lockPath(dataDir))
if (!tryLock(lock)) throw new Error('the lock is taken')
writeHolder(lock)
createServer(socket => {
  socket.on('error', () => socket.destroy())
  socket.on('data', line => {
    if (JSON.parse(String(line)).op === 'stats') socket.write(`${JSON.stringify({ protocol: PROTOCOL, ok: true, verbs: {} })}\n`)
  })
}).listen(socketPath(dataDir))
