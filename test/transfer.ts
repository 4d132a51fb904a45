/**
 * `transfer.ts receive PORT` and `transfer.ts send ADDRESS PORT BYTES [PAUSE_MS]`: each prints the
 * bytes and their SHA-256, the receiver on stderr the longest time without any, and the time from
 * the first to the last. SIGTERM ends the sending early.
 */
import { createHash, randomBytes } from 'node:crypto'
import { connect, createServer } from 'node:net'

const [role, first, second, third, pauseMs = '0'] = process.argv.slice(2)
const hash = createHash('sha256')

if (role === 'receive') {
  let bytes = 0
  const server = createServer(socket => {
    let [began, last, longestPauseMs] = [0, Date.now(), 0]
    socket.on('data', chunk => {
      longestPauseMs = Math.max(longestPauseMs, Date.now() - last)
      last = Date.now()
      began ||= last
      bytes += chunk.length
      hash.update(chunk)
    })
    socket.on('end', () => {
      console.error(`longest pause ${longestPauseMs} ms`)
      console.error(`from the first byte to the last ${last - began} ms`)
      console.log(`${bytes} ${hash.digest('hex')}`)
      socket.end()
      server.close()
    })
  }).listen(Number(first), '::', () => console.log('listening'))
} else {
  const total = Number(third)
  const block = randomBytes(1 << 20)
  const socket = connect(Number(second), first)
  let stopped = false
  process.once('SIGTERM', () => {
    stopped = true
  })
  let sent = 0
  for (; sent < total && !stopped; sent += block.length) {
    hash.update(block)
    if (!socket.write(block)) await new Promise(resolve => socket.once('drain', resolve))
    if (Number(pauseMs) > 0) await new Promise(resolve => setTimeout(resolve, Number(pauseMs)))
  }
  socket.end()
  await new Promise(resolve => socket.on('close', resolve))
  console.log(`${sent} ${hash.digest('hex')}`)
}
