/**
 * `rr.ts serve PORT` and `rr.ts ask ADDRESS PORT SECONDS`: one byte there, one byte back, over TCP, each side blocking in recv(2).
 * The asking side prints JSON: transactions per second, and the 50th and 99th percentile of a transaction in microseconds.
 */

import { parseAddress } from '../src/linux/inet.ts'
import { errno, func } from '../src/linux/libc.ts'

const call = (name: string, ...args: string[]) => {
  const raw = func(name, 'int', args)
  return (...values: unknown[]): number => {
    const result = raw(...values) as number
    if (result < 0) throw new Error(`${name}: errno ${errno()}`)
    return result
  }
}
const socket = call('socket', 'int', 'int', 'int')
const bind = call('bind', 'int', 'void *', 'uint32_t')
const listen = call('listen', 'int', 'int')
const accept = call('accept', 'int', 'void *', 'void *')
const connect = call('connect', 'int', 'void *', 'uint32_t')
const setsockopt = call('setsockopt', 'int', 'int', 'int', 'void *', 'uint32_t')
const send = call('send', 'int', 'void *', 'size_t', 'int')
const recv = call('recv', 'int', 'void *', 'size_t', 'int')

const one = Buffer.from([1, 0, 0, 0])
const [AF_INET, SOCK_STREAM, IPPROTO_TCP, TCP_NODELAY] = [2, 1, 6, 1]

function sockaddr(address: string, port: number): Buffer {
  const bytes = Buffer.alloc(16) // struct sockaddr_in
  bytes.writeUInt16LE(AF_INET, 0)
  bytes.writeUInt16BE(port, 2)
  parseAddress(address)!.bytes.copy(bytes, 4)
  return bytes
}

function serve(port: number): void {
  const listening = socket(AF_INET, SOCK_STREAM, 0)
  setsockopt(listening, 1, 2, one, 4) // SO_REUSEADDR
  bind(listening, sockaddr('0.0.0.0', port), 16)
  listen(listening, 8)
  for (;;) {
    const fd = accept(listening, null, null)
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, one, 4)
    const byte = Buffer.alloc(1)
    try {
      while (recv(fd, byte, 1, 0) === 1) send(fd, byte, 1, 0)
    } catch {
      // The asking side has ended.
    }
    call('close', 'int')(fd)
  }
}

function ask(address: string, port: number, seconds: number): void {
  const fd = socket(AF_INET, SOCK_STREAM, 0)
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, one, 4)
  connect(fd, sockaddr(address, port), 16)
  const byte = Buffer.alloc(1)
  const times = new Float64Array(4_000_000)
  const started = performance.now()
  let count = 0
  for (let now = started; now - started < seconds * 1000 && count < times.length; ) {
    send(fd, byte, 1, 0)
    recv(fd, byte, 1, 0)
    const then = now
    now = performance.now()
    times[count++] = now - then
  }
  const elapsed = performance.now() - started
  const sorted = times.subarray(0, count).sort()
  const percentile = (share: number) => sorted[Math.floor(share * (count - 1))]! * 1000
  console.log(JSON.stringify({ perSecond: (count / elapsed) * 1000, p50: percentile(0.5), p99: percentile(0.99) }))
}

const [role, ...rest] = process.argv.slice(2)
if (role === 'serve') serve(Number(rest[0]))
else ask(rest[0]!, Number(rest[1]), Number(rest[2]))
