/**
 * As much of the agent of 0.1.0 as the next one meets: its lock, without a process ID in it, and
 * its way to answer whatever is asked.
 */
import { createServer } from 'node:net'
import { lockPath, socketPath } from '../../src/agent/protocol.ts'
import { openLock, tryLock } from '../../src/linux/lock.ts'

const dataDir = process.argv[2]!
if (!tryLock(openLock(lockPath(dataDir)))) throw new Error('the lock is taken')
createServer(socket => {
  socket.on('error', () => socket.destroy())
  socket.on('data', () => socket.write(`${JSON.stringify({ ok: true })}\n`))
}).listen(socketPath(dataDir))
