/** Descriptors from one process to another: unix(7), SCM_RIGHTS. */
import { closeSync } from 'node:fs'
import { addressOf, checked } from './libc.ts'
import { AF_UNIX, SOCK_CLOEXEC, SOCK_SEQPACKET } from './uapi.ts'

const socket = checked('socket', ['int', 'int', 'int'])
const bind = checked('bind', ['int', 'void *', 'uint32_t'])
const listen = checked('listen', ['int', 'int'])
const accept = checked('accept4', ['int', 'void *', 'void *', 'int'])
const connect = checked('connect', ['int', 'void *', 'uint32_t'])
const sendmsg = checked('sendmsg', ['int', 'void *', 'int'])
const recvmsg = checked('recvmsg', ['int', 'void *', 'int'])

const SOL_SOCKET = 1
const SCM_RIGHTS = 1
const MSG_CMSG_CLOEXEC = 0x40000000
const CMSG_HEADER = 16 // struct cmsghdr: size_t len, int level, int type
const MAX_TEXT = 65536

/** A socket at `path` to which descriptors can be sent. */
export function listenForFds(path: string): number {
  const fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)
  const address = sockaddr(path)
  bind(fd, address, address.length)
  listen(fd, 1)
  return fd
}

/** Each message that comes over the first connection to `listening`, until the other side closes it. Blocks. */
export function* receiveFds(listening: number): Generator<{ text: string; fds: number[] }> {
  const fd = accept(listening, null, null, SOCK_CLOEXEC)
  try {
    for (;;) {
      const message = new Message(Buffer.alloc(MAX_TEXT), Buffer.alloc(CMSG_HEADER + 4 * 8))
      const length = recvmsg(fd, message.header, MSG_CMSG_CLOEXEC)
      if (length === 0) return
      yield { text: message.text.toString('utf8', 0, length), fds: message.fds }
    }
  } finally {
    closeSync(fd)
  }
}

/** A connection to who listens at `path`. */
export function connectForFds(path: string): number {
  const fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)
  try {
    const address = sockaddr(path)
    connect(fd, address, address.length)
    return fd
  } catch (error) {
    closeSync(fd)
    throw error
  }
}

/** Sends each message, and closes the connection. Blocks while more than some hundreds have not been received. */
export function sendFds(fd: number, messages: { text: string; fds: number[] }[]): void {
  try {
    for (const { text, fds } of messages) {
      const control = Buffer.alloc(CMSG_HEADER + Math.ceil((4 * fds.length) / 8) * 8)
      control.writeBigUInt64LE(BigInt(CMSG_HEADER + 4 * fds.length), 0)
      control.writeInt32LE(SOL_SOCKET, 8)
      control.writeInt32LE(SCM_RIGHTS, 12)
      for (const [index, passed] of fds.entries()) control.writeInt32LE(passed, CMSG_HEADER + 4 * index)
      sendmsg(fd, new Message(Buffer.from(text), control).header, 0)
    }
  } finally {
    closeSync(fd)
  }
}

function sockaddr(path: string): Buffer {
  const bytes = Buffer.alloc(110) // struct sockaddr_un
  bytes.writeUInt16LE(AF_UNIX, 0)
  if (Buffer.byteLength(path) > 107) throw new RangeError(`Cannot use "${path}" as a socket: longer than 107 bytes`)
  bytes.write(path, 2)
  return bytes
}

/** A struct msghdr of one text and one control message. */
class Message {
  readonly header = Buffer.alloc(56)
  readonly text: Buffer
  readonly #control: Buffer
  readonly #iovec = Buffer.alloc(16)

  constructor(text: Buffer, control: Buffer) {
    this.text = text
    this.#control = control
    this.#iovec.writeBigUInt64LE(BigInt(addressOf(text)), 0)
    this.#iovec.writeBigUInt64LE(BigInt(text.length), 8)
    this.header.writeBigUInt64LE(BigInt(addressOf(this.#iovec)), 16)
    this.header.writeBigUInt64LE(1n, 24)
    this.header.writeBigUInt64LE(BigInt(addressOf(control)), 32)
    this.header.writeBigUInt64LE(BigInt(control.length), 40)
  }

  /** Descriptors that came with the message. */
  get fds(): number[] {
    if (this.header.readBigUInt64LE(40) < CMSG_HEADER) return []
    const length = Number(this.#control.readBigUInt64LE(0)) - CMSG_HEADER
    return Array.from({ length: Math.max(0, length / 4) }, (_, index) => this.#control.readInt32LE(CMSG_HEADER + 4 * index))
  }
}
