/**
 * Captures the packets of a device, without the link layer's header: see packet(7). A socket
 * belongs for life to the network namespace of the thread that opens it.
 */
import { closeSync } from 'node:fs'
import { SyscallError } from './errno.ts'
import { addressOf, checked, errno, func, keepAlive, setsockopt, socket } from './libc.ts'
import { u32 } from './netlink.ts'
import { s32, struct, u8, u16, u64, u32 as uint32 } from './struct.ts'
import { SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK, SOL_SOCKET } from './uapi.ts'

// <sys/socket.h>, <linux/if_ether.h>, <linux/if_packet.h>
const AF_PACKET = 17
const ETH_P_ALL = 0x0003
const SOL_PACKET = 263
const PACKET_STATISTICS = 6
const PACKET_OUTGOING = 4
const SO_RCVBUFFORCE = 33
const SO_TIMESTAMPNS = 35
const MSG_TRUNC = 0x20
// <poll.h>
const POLLIN = 0x1
const POLLERR = 0x8
const POLLHUP = 0x10

const sockaddr_ll = struct({ family: u16, protocol: u16, ifindex: s32, hatype: u16, pkttype: u8, halen: u8, address: uint32, rest: uint32 })
const iovec = struct({ base: u64, length: u64 })
const msghdr = struct({ name: u64, namelen: s32, iov: u64, iovlen: u64, control: u64, controllen: u64, flags: u64 })
const pollfd = struct({ fd: s32, events: u16, revents: u16 })
/** struct cmsghdr, then struct timespec. */
const TIMESTAMP_AT = 16
const CONTROL_BYTES = 64

const bind = checked('bind', ['int', 'void *', 'uint32_t'])
const getsockname = checked('getsockname', ['int', 'void *', 'void *'])
const getsockopt = checked('getsockopt', ['int', 'int', 'int', 'void *', 'void *'])
const recvmsg = func('recvmsg', 'int', ['int', 'uint64_t', 'int']) as (fd: number, message: number, flags: number) => number
const poll = func('poll', 'int', ['void *', 'uint64_t', 'int']) as (fds: Buffer, count: number, timeoutMs: number) => number

const [EINTR, EAGAIN] = [4, 11]
/** Bytes: a second of some Gbit/s, so that a short pause of this process loses no packets. */
const RECEIVE_BUFFER = 64 << 20

export interface CapturedPacket {
  /** The bytes from the IP header on; valid until the next packet is received. */
  bytes: Buffer
  /** The packet's length in bytes; `bytes` may be shorter. */
  length: number
  /** When the kernel saw the packet, in nanoseconds since the epoch. */
  time: bigint
  /** True when the device sent the packet, false when it received it. */
  isOutgoing: boolean
}

/** Copies every packet of one device. */
export class PacketSocket implements Disposable {
  readonly fd: number
  readonly #name = Buffer.alloc(sockaddr_ll.size)
  readonly #control = Buffer.alloc(CONTROL_BYTES)
  readonly #bytes: Buffer
  readonly #iov: Buffer
  readonly #header: Buffer

  /**
   * `index` is a device of the calling thread's network namespace; `snapLength` bytes of each
   * packet are kept. Throws SyscallError.
   */
  constructor(index: number, snapLength: number) {
    this.#bytes = Buffer.alloc(snapLength)
    this.#iov = iovec.encode({ base: addressOf(this.#bytes), length: snapLength })
    this.#header = Buffer.alloc(msghdr.size)
    // protocol 0: nothing is received before bind() says of which device
    this.fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    try {
      setsockopt(this.fd, SOL_SOCKET, SO_RCVBUFFORCE, u32(RECEIVE_BUFFER), 4)
      setsockopt(this.fd, SOL_SOCKET, SO_TIMESTAMPNS, u32(1), 4)
      const address = sockaddr_ll.encode({ family: AF_PACKET, protocol: ETH_P_ALL << 8, ifindex: index })
      bind(this.fd, address, address.length)
    } catch (error) {
      closeSync(this.fd)
      throw error
    }
  }

  /**
   * The next packet; undefined when none has arrived. Throws SyscallError: ENETDOWN when the device
   * is down or gone.
   */
  receive(): CapturedPacket | undefined {
    const length = this.#receive()
    if (length < 0) {
      const reason = errno()
      if (reason === EAGAIN || reason === EINTR) return undefined
      throw new SyscallError('recvmsg', reason)
    }
    return {
      bytes: this.#bytes.subarray(0, Math.min(length, this.#bytes.length)),
      length,
      time: this.#time(),
      isOutgoing: sockaddr_ll.decode(this.#name).pkttype === PACKET_OUTGOING,
    }
  }

  /** recvmsg(2): with MSG_TRUNC it returns the packet's whole length. */
  #receive(): number {
    const header = msghdr.encode({
      name: addressOf(this.#name),
      namelen: this.#name.length,
      iov: addressOf(this.#iov),
      iovlen: 1,
      control: addressOf(this.#control),
      controllen: CONTROL_BYTES,
    })
    header.copy(this.#header)
    const length = recvmsg(this.fd, addressOf(this.#header), MSG_TRUNC)
    keepAlive(this.#header, this.#iov, this.#name, this.#control, this.#bytes)
    return length
  }

  #time(): bigint {
    return this.#control.readBigInt64LE(TIMESTAMP_AT) * 1_000_000_000n + this.#control.readBigInt64LE(TIMESTAMP_AT + 8)
  }

  /**
   * Waits at most `timeoutMs` for a packet. 'closed' when the reader of the descriptor `output` has
   * gone, which a file never reports.
   */
  wait(output: number, timeoutMs: number): 'ready' | 'closed' {
    const fds = Buffer.concat([pollfd.encode({ fd: this.fd, events: POLLIN }), pollfd.encode({ fd: output })])
    poll(fds, 2, timeoutMs)
    return pollfd.decode(fds.subarray(pollfd.size)).revents & (POLLERR | POLLHUP) ? 'closed' : 'ready'
  }

  /** False when the device has been deleted. */
  hasDevice(): boolean {
    const address = Buffer.alloc(sockaddr_ll.size)
    getsockname(this.fd, address, u32(address.length))
    return sockaddr_ll.decode(address).ifindex > 0
  }

  /** Packets dropped since the last call, for want of room in this socket. */
  dropped(): number {
    const statistics = Buffer.alloc(8) // struct tpacket_stats: packets, drops
    getsockopt(this.fd, SOL_PACKET, PACKET_STATISTICS, statistics, u32(statistics.length))
    return statistics.readUInt32LE(4)
  }

  [Symbol.dispose](): void {
    closeSync(this.fd)
  }
}
