/** Sockets that block, for the measuring programs: an event loop would be measured too. */
import { parseAddress } from '../src/address.ts'
import { checked } from '../src/linux/libc.ts'

const AF_INET = 2
const SOCKETS = { stream: 1, datagram: 2 }
const SOL_SOCKET = 1
const SO_REUSEADDR = 2
const SO_RCVTIMEO = 20
const IPPROTO_TCP = 6
const TCP_NODELAY = 1

const socket = checked('socket', ['int', 'int', 'int'])
const bind = checked('bind', ['int', 'void *', 'uint32_t'])
const listen = checked('listen', ['int', 'int'])
const acceptRaw = checked('accept', ['int', 'void *', 'void *'])
const connect = checked('connect', ['int', 'void *', 'uint32_t'])
const setsockopt = checked('setsockopt', ['int', 'int', 'int', 'void *', 'uint32_t'])
export const close = checked('close', ['int'])

const one = Buffer.from([1, 0, 0, 0])

/** Bound to every IPv4 address; with `timeout`, a receive fails after so many seconds. */
export function listening(port: number, kind: 'stream' | 'datagram', timeout = 0): number {
  const fd = socket(AF_INET, SOCKETS[kind], 0)
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, one, 4)
  bind(fd, sockaddr('0.0.0.0', port), 16)
  if (kind === 'stream') listen(fd, 8)
  const timeval = Buffer.alloc(16)
  timeval.writeBigInt64LE(BigInt(Math.round(timeout * 1e6)), 8)
  if (timeout > 0) setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, timeval, 16)
  return fd
}

export function accept(fd: number): number {
  const accepted = acceptRaw(fd, null, null)
  setsockopt(accepted, IPPROTO_TCP, TCP_NODELAY, one, 4)
  return accepted
}

export function connected(address: string, port: number, kind: 'stream' | 'datagram'): number {
  const fd = socket(AF_INET, SOCKETS[kind], 0)
  if (kind === 'stream') setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, one, 4)
  connect(fd, sockaddr(address, port), 16)
  return fd
}

function sockaddr(address: string, port: number): Buffer {
  const bytes = Buffer.alloc(16) // struct sockaddr_in
  bytes.writeUInt16LE(AF_INET, 0)
  bytes.writeUInt16BE(port, 2)
  parseAddress(address)!.bytes.copy(bytes, 4)
  return bytes
}
