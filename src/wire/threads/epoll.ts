/**
 * The thread wire by epoll, read and write: where io_uring is forbidden or too old. Each packet
 * takes two system calls. At most BUDGET packets are taken from one descriptor in a turn, so that a
 * busy link does not starve the others.
 */
import { closeSync } from 'node:fs'
import { addressOf, epollCreate, epollCtl, errno, func } from '../../linux/libc.ts'
import { EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLLIN } from '../../linux/uapi.ts'
import { BYTES, COUNTER_FIELDS, DROPS, PACKETS } from './table.ts'

const BUDGET = 8
const PACKET_SIZE = 65536 + 256 // the largest GSO packet and its virtio_net_hdr
const MAX_EVENTS = 64
const EVENT_SIZE = process.arch === 'x64' ? 12 : 16 // struct epoll_event is packed on x86-64 only
const EVENT_DATA = process.arch === 'x64' ? 4 : 8
const WAKE = -1
const EAGAIN = 11
const EINTR = 4

const epollWait = func('epoll_wait', 'int', ['int', 'uint64_t', 'int', 'int']) as (
  epoll: number,
  events: number,
  most: number,
  timeoutMs: number,
) => number
const read = func('read', 'int', ['int', 'uint64_t', 'uint32_t']) as (fd: number, to: number, most: number) => number
const write = func('write', 'int', ['int', 'uint64_t', 'uint32_t']) as (fd: number, from: number, length: number) => number

export interface EpollOptions {
  wakeFd: number
  /** See table.ts. */
  counters: Float64Array
  onGone(wire: number): void
  onParted(wire: number): void
  onWake(): void
}

export class EpollWires {
  /** Packets passed so far, of all wires. */
  packets = 0
  readonly #options: EpollOptions
  readonly #epoll = epollCreate(EPOLL_CLOEXEC)
  /** Descriptor by direction. */
  readonly #fds: number[] = []
  readonly #events = Buffer.alloc(EVENT_SIZE * MAX_EVENTS)
  readonly #eventsAddress = addressOf(this.#events)
  readonly #packet = Buffer.alloc(PACKET_SIZE)
  readonly #packetAddress = addressOf(this.#packet)

  constructor(options: EpollOptions) {
    this.#options = options
    epollCtl(this.#epoll, EPOLL_CTL_ADD, options.wakeFd, epollEvent(WAKE))
  }

  join(wire: number, podFd: number, hostFd: number): void {
    for (const [end, fd] of [podFd, hostFd].entries()) {
      this.#fds[2 * wire + end] = fd
      epollCtl(this.#epoll, EPOLL_CTL_ADD, fd, epollEvent(2 * wire + end))
    }
  }

  part(wire: number): void {
    for (const direction of [2 * wire, 2 * wire + 1]) this.#forget(direction)
    this.#options.onParted(wire)
  }

  /** One turn: waits for packets if `least` is 1, and passes them. True when there were any. */
  turn(least: number): boolean {
    const ready = epollWait(this.#epoll, this.#eventsAddress, MAX_EVENTS, least === 0 ? 0 : -1)
    if (ready < 0 && errno() !== EINTR) throw new Error(`epoll_wait failed with errno ${errno()}`)
    let woken = false
    for (let event = 0; event < ready; event++) {
      const direction = this.#events.readInt32LE(event * EVENT_SIZE + EVENT_DATA)
      if (direction === WAKE) woken = true
      else this.#drain(direction)
    }
    if (woken) this.#wake()
    return ready > (woken ? 1 : 0)
  }

  [Symbol.dispose](): void {
    closeSync(this.#epoll)
  }

  #wake(): void {
    read(this.#options.wakeFd, this.#packetAddress, 8)
    this.#options.onWake()
  }

  #drain(direction: number): void {
    const [from, to] = [this.#fds[direction]!, this.#fds[direction ^ 1]!]
    const { counters } = this.#options
    const at = direction * COUNTER_FIELDS
    for (let count = 0; count < BUDGET; count++) {
      const length = read(from, this.#packetAddress, PACKET_SIZE)
      if (length <= 0) {
        const reason = errno()
        // EBADFD: the device was deleted
        if (length === 0 || (reason !== EAGAIN && reason !== EINTR)) this.#gone(direction)
        return
      }
      this.packets++
      counters[at + PACKETS]!++
      counters[at + BYTES]! += length
      if (write(to, this.#packetAddress, length) !== length) counters[at + DROPS]!++
    }
  }

  #gone(direction: number): void {
    this.#forget(direction)
    this.#options.onGone(direction >> 1)
  }

  #forget(direction: number): void {
    try {
      epollCtl(this.#epoll, EPOLL_CTL_DEL, this.#fds[direction]!, epollEvent(direction))
    } catch {
      // It was removed already: its device is gone.
    }
  }
}

function epollEvent(data: number): Buffer {
  const event = Buffer.alloc(16)
  event.writeUInt32LE(EPOLLIN, 0)
  event.writeInt32LE(data, EVENT_DATA)
  return event
}
