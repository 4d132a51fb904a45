/**
 * `datagrams.ts echo PORT` sends every datagram back; `datagrams.ts ask ADDRESS PORT SIZES` sends
 * one of each size from 1 to SIZES, its number repeated all through it, some in flight at a time,
 * and prints what came of them.
 */
import { createSocket } from 'node:dgram'

const [role, ...rest] = process.argv.slice(2)
const socket = createSocket('udp4')

if (role === 'echo') {
  socket.on('message', (message, { port, address }) => socket.send(message, port, address))
  socket.bind(Number(rest[0]), () => console.log('listening'))
} else {
  const [address, port, sizes] = [rest[0]!, Number(rest[1]), Number(rest[2])]
  const content = (size: number) => Buffer.alloc(size, `${size} `)
  const seen = new Set<number>()
  const result = { sent: 0, received: 0, duplicates: 0, reordered: 0, damaged: 0 }
  let last = 0
  const next = () => {
    if (result.sent < sizes) socket.send(content(++result.sent), port, address)
  }
  const finish = () => {
    console.log(JSON.stringify(result))
    process.exit()
  }
  let idle = setTimeout(finish, 2000)
  socket.on('message', message => {
    clearTimeout(idle)
    idle = setTimeout(finish, result.received + 1 === sizes ? 200 : 2000)
    const size = message.length
    if (!message.equals(content(size))) result.damaged++
    if (seen.has(size)) result.duplicates++
    else result.received++
    seen.add(size)
    if (size < last) result.reordered++
    last = size
    next()
  })
  for (let inFlight = 0; inFlight < 16; inFlight++) next()
}
