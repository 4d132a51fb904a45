/**
 * `blast.ts sink PORT SECONDS` and `blast.ts send ADDRESS PORT SECONDS`: UDP datagrams of 64 bytes,
 * 64 in a system call (sendmmsg(2), recvmmsg(2)). Each prints how many a second it received or
 * sent.
 */
import { addressOf, func, keepAlive } from '../src/linux/libc.ts'
import { connected, listening } from './sockets.ts'

const BATCH = 64
const SIZE = 64
const MSG_WAITFORONE = 0x10000
const MMSGHDR = 64 // struct mmsghdr: a msghdr of 56 bytes and its length

const sendmmsg = func('sendmmsg', 'int', ['int', 'uint64_t', 'uint32_t', 'int']) as (...values: number[]) => number
const recvmmsg = func('recvmmsg', 'int', ['int', 'uint64_t', 'uint32_t', 'int', 'uint64_t']) as (...values: number[]) => number

const payload = Buffer.alloc(BATCH * 2048)
const vectors = Buffer.alloc(BATCH * 16)
const headers = Buffer.alloc(BATCH * MMSGHDR)
for (let index = 0; index < BATCH; index++) {
  vectors.writeBigUInt64LE(BigInt(addressOf(payload) + index * 2048), index * 16)
  vectors.writeBigUInt64LE(BigInt(SIZE), index * 16 + 8)
  headers.writeBigUInt64LE(BigInt(addressOf(vectors) + index * 16), index * MMSGHDR + 16)
  headers.writeBigUInt64LE(1n, index * MMSGHDR + 24)
}
const address = addressOf(headers)

const [role, ...rest] = process.argv.slice(2)
let count = 0
const started = performance.now()
const seconds = Number(rest.at(-1))
if (role === 'sink') {
  const fd = listening(Number(rest[0]), 'datagram', 0.2)
  console.error('listening')
  let first = 0
  let last = 0
  while (performance.now() - started < (seconds + 10) * 1000) {
    const received = recvmmsg(fd, address, BATCH, MSG_WAITFORONE, 0)
    if (received > 0) {
      last = performance.now()
      first ||= last
      count += received
    } else if (first > 0) break
  }
  console.log(count / ((last - first) / 1000))
} else {
  const fd = connected(rest[0]!, Number(rest[1]), 'datagram')
  while (performance.now() - started < seconds * 1000) count += Math.max(0, sendmmsg(fd, address, BATCH, 0))
  console.log(count / seconds)
}
keepAlive(payload, vectors, headers)
