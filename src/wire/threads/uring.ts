/**
 * The wire by io_uring. What is read from one TUN descriptor is written to its peer, packet by
 * packet, unparsed; no byte of a packet is ever seen by this code. With IFF_VNET_HDR a packet is up
 * to 64 KiB of TCP or UDP that nobody has segmented or checksummed yet.
 *
 * How the ring is used, per direction (what is read from one end, see table.ts):
 *
 *   1. One IORING_OP_READ_MULTISHOT stays armed. It takes its buffers from a *buffer ring* of the
 *      direction's own: BUFFERS entries of memory shared with the kernel, of which the kernel
 *      consumes one for each packet and tells which in the completion.
 *   2. For each such completion a write of that buffer to the other end is queued. It reports only
 *      failure (CQE_SKIP_SUCCESS).
 *   3. The next io_uring_enter() submits all those writes at once and waits for the next packets.
 *      TUN descriptors are non-blocking, so a write either happens inside that call or fails: when
 *      the call returns, the buffers of submitted writes are free again.
 *   4. So they are given back: the kernel consumes buffers in ring order and writes are submitted
 *      in the order of the reads, hence the entries of the ring never change, and giving one back
 *      is to move the ring's tail by one.
 *   5. A read that ends (no F_MORE) is armed again: ENOBUFS only says that all buffers of the
 *      direction were in flight. EBADFD says that the device is gone: armed again it would end at
 *      once, for ever.
 *
 * Bounds: a direction has at most BUFFERS packets in flight, so a busy link delays another by
 * BUFFERS packets a turn; all further queueing is in the devices (txqueuelen), which drop and count
 * like any full qdisc. What the other end refuses (it is down) is dropped and counted here.
 */
import type { IoUring } from '../../linux/io-uring.ts'
import * as uring from '../../linux/io-uring.ts'
import { BYTES, COUNTER_FIELDS, DROPS, PACKETS } from './table.ts'

/**
 * Packets in flight per direction: a power of two. Fewer cost throughput, more delay other links.
 */
export const BUFFERS = 16
const BUFFER_BYTES = 65536 + 256 // the largest GSO packet and its virtio_net_hdr
const BUFFER_STRIDE = 17 * 4096
/** Of a buffer ring, which is page-aligned. */
export const RING_BYTES = 4096

/** Memory of a wire: the buffer rings of its two directions, then their buffers. */
export const WIRE_MEMORY = 2 * RING_BYTES + 2 * BUFFERS * BUFFER_STRIDE
export const BUFFERS_AT = 2 * RING_BYTES

const ENOBUFS = 105
const EAGAIN = 11
const EINTR = 4

/** The kind of a completion: the low bits of user_data; the rest is the direction. */
const READ = 0
const WRITE = 1
const CANCEL = 2
const WAKE = 3
const KIND_BITS = 2
const KIND_MASK = 3

/** The parts of IoUring that are used here, so that the logic can run against a simulated one. */
export type Ring = Pick<
  IoUring,
  'sqes' | 'next' | 'submit' | 'reap' | 'setFile' | 'registerBuffers' | 'unregisterBuffers' | typeof Symbol.dispose
>

export interface UringOptions {
  ring: Ring
  /** See table.ts. */
  counters: Float64Array
  /**
   * WIRE_MEMORY bytes for a wire: where they begin, and the first RING_BYTES * 2 of them as words.
   */
  memory(wire: number): { address: number; rings: Int32Array }
  /** Called once when a device of the wire is gone. */
  onGone(wire: number): void
  /** The kernel no longer uses the wire: its descriptors may be closed. */
  onParted(wire: number): void
  /** The eventfd was written to. */
  onWake(): void
}

interface Direction {
  rings: Int32Array
  /** Index into `rings` of the word whose upper half is the ring's tail. */
  tailWord: number
  tail: number
  address: number
  armed: boolean
  dead: boolean
}

export class UringWires {
  /** Packets passed so far, of all wires. */
  packets = 0
  readonly #options: UringOptions
  readonly #ring: Ring
  readonly #directions: (Direction | undefined)[] = []
  readonly #parting = new Set<number>()
  /**
   * The queued requests, in order: the direction of a write, -1 for anything else. A ring buffer,
   * as long as the submission queue.
   */
  readonly #queue: Int32Array
  #queueHead = 0
  #queued = 0
  /** user_data of the requests that wait for room in the queue. */
  readonly #toQueue: number[] = [WAKE]
  readonly #wakeFile: number
  readonly #wakeBuffer: number

  /**
   * `wakeFile` is the fixed file of the eventfd, `wakeBuffer` the address of eight bytes to read it
   * into.
   */
  constructor(options: UringOptions, wakeFile: number, wakeBuffer: number) {
    this.#options = options
    this.#ring = options.ring
    this.#queue = new Int32Array(options.ring.sqes.length / uring.SQE_WORDS)
    this.#wakeFile = wakeFile
    this.#wakeBuffer = wakeBuffer
  }

  /** Joins two non-blocking TUN descriptors. */
  join(wire: number, podFd: number, hostFd: number): void {
    const { address, rings } = this.#options.memory(wire)
    for (const [end, fd] of [podFd, hostFd].entries()) {
      const direction = 2 * wire + end
      const buffers = address + BUFFERS_AT + end * BUFFERS * BUFFER_STRIDE
      const firstWord = (end * RING_BYTES) / 4
      for (let id = 0; id < BUFFERS; id++) setBuffer(rings, firstWord + 4 * id, buffers + id * BUFFER_STRIDE, BUFFER_BYTES, id)
      this.#ring.setFile(direction, fd)
      this.#ring.registerBuffers(direction, address + end * RING_BYTES, BUFFERS)
      const state = { rings, tailWord: firstWord + 3, tail: 0, address: buffers, armed: false, dead: false }
      this.#directions[direction] = state
      this.#giveBack(state, BUFFERS)
    }
    this.#toQueue.push((2 * wire) << KIND_BITS, (2 * wire + 1) << KIND_BITS)
  }

  /** Starts to remove a wire; onParted() reports the end. */
  part(wire: number): void {
    this.#parting.add(wire)
    for (const direction of [2 * wire, 2 * wire + 1]) this.#toQueue.push((direction << KIND_BITS) | CANCEL)
  }

  /**
   * One turn: submits the queued requests, waits for `least` completions, gives buffers back,
   * queues a write for each packet. True when there were packets, in which case some of them are
   * still queued.
   */
  turn(least: number): boolean {
    this.#queueWaiting()
    const more = this.#toQueue.length > 0 || this.#parting.size > 0
    const submitted = this.#ring.submit(more ? 0 : least)
    for (let count = 0; count < submitted; count++) this.#submitted()
    if (this.#parting.size > 0) for (const wire of this.#parting) this.#finishParting(wire)
    if (this.#queued < this.#queue.length) this.#ring.reap(this.#reaped)
    return this.#queued > 0
  }

  [Symbol.dispose](): void {
    this.#ring[Symbol.dispose]()
  }

  readonly #reaped = (userData: number, result: number, flags: number): boolean => {
    const kind = userData & KIND_MASK
    const direction = userData >> KIND_BITS
    if (kind === READ) return this.#read(direction, result, flags)
    if (kind === WRITE) this.#options.counters[direction * COUNTER_FIELDS + DROPS]!++
    else if (kind === WAKE) {
      this.#toQueue.push(WAKE)
      this.#options.onWake()
    }
    return true
  }

  #read(direction: number, result: number, flags: number): boolean {
    const state = this.#directions[direction]!
    if (result > 0) {
      const { counters } = this.#options
      this.packets++
      counters[direction * COUNTER_FIELDS + PACKETS]!++
      counters[direction * COUNTER_FIELDS + BYTES]! += result
      this.#write(direction, state, flags >>> uring.IORING_CQE_BUFFER_SHIFT, result)
    }
    if ((flags & uring.IORING_CQE_F_MORE) === 0) this.#ended(direction, state, result)
    return this.#queued < this.#queue.length
  }

  #write(direction: number, { address }: Direction, buffer: number, length: number): void {
    const at = this.#next(direction)
    const { sqes } = this.#ring
    const from = address + buffer * BUFFER_STRIDE
    sqes[at] = uring.IORING_OP_WRITE | ((uring.IOSQE_FIXED_FILE | uring.IOSQE_CQE_SKIP_SUCCESS) << 8)
    sqes[at + uring.SQE_FD] = direction ^ 1
    sqes[at + uring.SQE_ADDR] = from | 0
    sqes[at + uring.SQE_ADDR + 1] = from / 0x1_0000_0000
    sqes[at + uring.SQE_LEN] = length
    sqes[at + uring.SQE_USER_DATA] = (direction << KIND_BITS) | WRITE
  }

  #ended(direction: number, state: Direction, result: number): void {
    state.armed = false
    if (this.#parting.has(direction >> 1)) return
    if (result > 0 || result === -ENOBUFS || result === -EAGAIN || result === -EINTR) this.#toQueue.push(direction << KIND_BITS)
    else if (!state.dead) {
      state.dead = true
      this.#options.onGone(direction >> 1)
    }
  }

  #queueWaiting(): void {
    while (this.#toQueue.length > 0 && this.#queued < this.#queue.length) {
      const userData = this.#toQueue.shift()!
      const direction = userData >> KIND_BITS
      const kind = userData & KIND_MASK
      if (kind === WAKE) this.#armWake()
      else if (kind === CANCEL) this.#cancel(direction)
      else if (!this.#parting.has(direction >> 1)) this.#armRead(direction)
    }
  }

  #armRead(direction: number): void {
    const at = this.#next(-1)
    const { sqes } = this.#ring
    sqes[at] = uring.IORING_OP_READ_MULTISHOT | ((uring.IOSQE_FIXED_FILE | uring.IOSQE_BUFFER_SELECT) << 8)
    sqes[at + uring.SQE_FD] = direction
    sqes[at + uring.SQE_OFF] = -1
    sqes[at + uring.SQE_OFF + 1] = -1
    sqes[at + uring.SQE_USER_DATA] = direction << KIND_BITS
    sqes[at + uring.SQE_BUF_GROUP] = direction
    this.#directions[direction]!.armed = true
  }

  #armWake(): void {
    const at = this.#next(-1)
    const { sqes } = this.#ring
    sqes[at] = uring.IORING_OP_READ | (uring.IOSQE_FIXED_FILE << 8)
    sqes[at + uring.SQE_FD] = this.#wakeFile
    sqes[at + uring.SQE_ADDR] = this.#wakeBuffer | 0
    sqes[at + uring.SQE_ADDR + 1] = this.#wakeBuffer / 0x1_0000_0000
    sqes[at + uring.SQE_LEN] = 8
    sqes[at + uring.SQE_USER_DATA] = WAKE
  }

  /** IORING_OP_ASYNC_CANCEL names a request by its user_data. */
  #cancel(direction: number): void {
    const at = this.#next(-1)
    const { sqes } = this.#ring
    sqes[at] = uring.IORING_OP_ASYNC_CANCEL
    sqes[at + uring.SQE_FD] = -1
    sqes[at + uring.SQE_ADDR] = direction << KIND_BITS
    sqes[at + uring.SQE_USER_DATA] = (direction << KIND_BITS) | CANCEL
  }

  /** The next request's place in `sqes`. The caller has checked that there is room. */
  #next(direction: number): number {
    this.#queue[(this.#queueHead + this.#queued++) & (this.#queue.length - 1)] = direction
    return this.#ring.next()
  }

  #submitted(): void {
    const direction = this.#queue[this.#queueHead]!
    this.#queueHead = (this.#queueHead + 1) & (this.#queue.length - 1)
    this.#queued--
    if (direction >= 0) this.#giveBack(this.#directions[direction]!, 1)
  }

  #giveBack(state: Direction, count: number): void {
    state.tail = (state.tail + count) & 0xffff
    state.rings[state.tailWord] = (state.rings[state.tailWord]! & 0xffff) | (state.tail << 16)
  }

  /** The reads have ended, and the writes of their last packets have been submitted. */
  #finishParting(wire: number): void {
    const ends = [2 * wire, 2 * wire + 1]
    if (this.#queued > 0 || this.#toQueue.length > 0 || ends.some(direction => this.#directions[direction]!.armed)) return
    this.#parting.delete(wire)
    for (const direction of ends) {
      this.#ring.unregisterBuffers(direction)
      this.#ring.setFile(direction, -1)
      this.#directions[direction] = undefined
    }
    this.#options.onParted(wire)
  }
}

/**
 * A struct io_uring_buf at `word`: address, length, buffer ID. The upper half of its last word is,
 * in the first one, the ring's tail.
 */
export function setBuffer(rings: Int32Array, word: number, address: number, length: number, id: number): void {
  rings[word] = address | 0
  rings[word + 1] = address / 0x1_0000_0000
  rings[word + 2] = length
  rings[word + 3] = id
}
