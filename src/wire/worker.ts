/**
 * The wire's thread: what is read from one TUN descriptor is written to its peer, packet by packet, unparsed. With IFF_VNET_HDR a
 * packet is up to 64 KiB of TCP or UDP that nobody has segmented or checksummed yet, so a packet here is worth forty on a wire.
 *
 * Both descriptors are non-blocking. A write that would block, or that the device refuses, drops the packet and counts it, as a full
 * qdisc does: bounded queues are the devices' own. At most BUDGET packets are taken from one descriptor in a turn, so a busy link
 * does not starve the others.
 */
import { parentPort, workerData } from 'node:worker_threads'
import { addressOf, epollCtl, errno, func } from '../linux/libc.ts'
import { EPOLL_CTL_DEL } from '../linux/uapi.ts'
import { type Gone, ROUND, type Shared, STOP } from './shared.ts'

const BUDGET = 8
const PACKET_SIZE = 65536 + 256 // the largest GSO packet and its virtio_net_hdr
const MAX_EVENTS = 64
const EVENT_SIZE = process.arch === 'x64' ? 12 : 16 // struct epoll_event is packed on x86-64 only
const EVENT_FD = process.arch === 'x64' ? 4 : 8
const EAGAIN = 11
const EINTR = 4

/** Runs until [STOP] is set. */
export function workerMain(): void {
  const shared = workerData as Shared
  const { control } = shared
  const events = Buffer.alloc(EVENT_SIZE * MAX_EVENTS)
  const eventsAddress = addressOf(events)
  const packet = Buffer.alloc(PACKET_SIZE)
  const packetAddress = addressOf(packet)
  const epollWait = func('epoll_wait', 'int', ['int', 'uint64_t', 'int', 'int']) as (
    epoll: number,
    events: number,
    most: number,
    timeout: number,
  ) => number
  const drain = drainer(shared, packetAddress)
  while (Atomics.load(control, STOP) === 0) {
    const ready = epollWait(shared.epollFd, eventsAddress, MAX_EVENTS, -1)
    if (ready < 0 && errno() !== EINTR) throw new Error(`epoll_wait failed with errno ${errno()}`)
    for (let event = 0; event < ready; event++) drain(events.readInt32LE(event * EVENT_SIZE + EVENT_FD))
    Atomics.add(control, ROUND, 1)
    Atomics.notify(control, ROUND)
  }
}

/** A function that takes at most BUDGET packets from a descriptor. */
function drainer({ epollFd, wakeFd, peer, counters }: Shared, packet: number): (fd: number) => void {
  const read = func('read', 'int', ['int', 'uint64_t', 'uint32_t']) as (fd: number, to: number, most: number) => number
  const write = func('write', 'int', ['int', 'uint64_t', 'uint32_t']) as (fd: number, from: number, length: number) => number
  const gone = (fd: number) => {
    epollCtl(epollFd, EPOLL_CTL_DEL, fd, Buffer.alloc(16))
    parentPort!.postMessage({ fd } satisfies Gone)
  }
  return fd => {
    if (fd === wakeFd) return void read(fd, packet, 8)
    const to = peer[fd]!
    if (to === 0) return
    for (let count = 0; count < BUDGET; count++) {
      const length = read(fd, packet, PACKET_SIZE)
      if (length <= 0) {
        const reason = errno()
        if (length === 0 || (reason !== EAGAIN && reason !== EINTR)) gone(fd) // EBADFD: the device was deleted
        return
      }
      if (write(to, packet, length) === length) {
        counters[3 * fd]!++
        counters[3 * fd + 1]! += length
      } else counters[3 * fd + 2]!++
    }
  }
}
