/**
 * `who.ts serve NAME PORT` answers each datagram with NAME and the address that it came from;
 * `who.ts ask ADDRESS PORT` sends one, and prints the answer, or nothing after a second.
 */
import { createSocket } from 'node:dgram'

const [role, first, port] = process.argv.slice(2)

if (role === 'serve') {
  const socket = createSocket('udp6') // which takes IPv4 too
  const plain = (address: string) => address.replace('::ffff:', '')
  socket.on('message', (_, { address, port }) => socket.send(`${first} ${plain(address)}`, port, address))
  socket.bind(Number(port), () => console.log('listening'))
} else {
  const socket = createSocket(first!.includes(':') ? 'udp6' : 'udp4')
  socket.on('message', answer => {
    console.log(answer.toString())
    process.exit()
  })
  socket.send('who', Number(port), first)
  setTimeout(() => process.exit(), 1000)
}
