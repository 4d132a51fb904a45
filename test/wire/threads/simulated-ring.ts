/**
 * A kernel's side of io_uring, as far as the wire uses it: TUN descriptors are queues of packets,
 * memory is a map from address to packet.
 */
import * as uring from '../../../src/linux/io-uring.ts'
import { BUFFERS, BUFFERS_AT, type Ring } from '../../../src/wire/threads/uring.ts'

const F_BUFFER = 1
const ENOBUFS = 105
const ECANCELED = 125
const EBADFD = 77
const EIO = 5

interface Read {
  userData: number
  group: number
}

interface Buffers {
  rings: Int32Array
  firstWord: number
  consumed: number
}

export class SimulatedRing implements Ring {
  readonly sqes: Int32Array
  /** Packets that wait to be read, by descriptor. */
  readonly incoming = new Map<number, string[]>()
  /** Packets written, by descriptor. */
  readonly written = new Map<number, string[]>()
  /** Descriptors whose device is gone, or down. */
  readonly gone = new Set<number>()
  readonly down = new Set<number>()
  /** How many requests a submission takes at most. */
  most = Infinity
  /** Bytes (here: words) at the eventfd. */
  woken = false
  readonly memory = new Map<number, string>()
  readonly #areas: { address: number; rings: Int32Array }[] = []
  readonly #files = new Map<number, number>()
  readonly #buffers = new Map<number, Buffers>()
  readonly #reads = new Map<number, Read>()
  readonly #completions: [number, number, number][] = []
  #wake: number | undefined
  #tail = 0
  #queued = 0

  constructor(entries: number) {
    this.sqes = new Int32Array(entries * uring.SQE_WORDS)
  }

  /** What the wire's memory() option is to answer. */
  area(wire: number): { address: number; rings: Int32Array } {
    this.#areas[wire] ??= { address: 0x7f00_0000_0000 + wire * 0x1000_0000, rings: new Int32Array(BUFFERS_AT / 4) }
    return this.#areas[wire]
  }

  get armed(): number {
    return this.#reads.size
  }

  get bufferRings(): number {
    return this.#buffers.size
  }

  next(): number {
    const entries = this.sqes.length / uring.SQE_WORDS
    if (this.#queued === entries) return -1
    const at = (this.#tail++ % entries) * uring.SQE_WORDS
    this.#queued++
    this.sqes.fill(0, at, at + uring.SQE_WORDS)
    return at
  }

  submit(): number {
    const entries = this.sqes.length / uring.SQE_WORDS
    const count = Math.min(this.#queued, this.most)
    for (let index = 0; index < count; index++) this.#perform(((this.#tail - this.#queued + index) % entries) * uring.SQE_WORDS)
    this.#queued -= count
    for (const [file, read] of this.#reads) this.#receive(file, read)
    if (this.woken && this.#wake !== undefined) {
      this.#completions.push([this.#wake, 8, 0])
      this.woken = false
      this.#wake = undefined
    }
    return count
  }

  reap(visit: (userData: number, result: number, flags: number) => boolean): void {
    while (this.#completions.length > 0) if (!visit(...this.#completions.shift()!)) return
  }

  setFile(index: number, fd: number): void {
    if (fd < 0) this.#files.delete(index)
    else this.#files.set(index, fd)
  }

  registerBuffers(group: number, address: number): void {
    const area = this.#areas.find(area => area && address >= area.address && address < area.address + BUFFERS_AT)!
    this.#buffers.set(group, { rings: area.rings, firstWord: (address - area.address) / 4, consumed: 0 })
  }

  unregisterBuffers(group: number): void {
    this.#buffers.delete(group)
  }

  [Symbol.dispose](): void {}

  #perform(at: number): void {
    const { sqes } = this
    const opcode = sqes[at]! & 0xff
    const file = sqes[at + uring.SQE_FD]!
    const userData = sqes[at + uring.SQE_USER_DATA]!
    if (opcode === uring.IORING_OP_READ) this.#wake = userData
    else if (opcode === uring.IORING_OP_READ_MULTISHOT) this.#reads.set(file, { userData, group: sqes[at + uring.SQE_BUF_GROUP]! })
    else if (opcode === uring.IORING_OP_WRITE) this.#write(file, at, userData)
    else this.#cancel(sqes[at + uring.SQE_ADDR]!, userData)
  }

  #write(file: number, at: number, userData: number): void {
    const fd = this.#files.get(file)!
    if (this.down.has(fd) || this.gone.has(fd)) return void this.#completions.push([userData, this.down.has(fd) ? -EIO : -EBADFD, 0])
    const packet = this.memory.get(pointer(this.sqes, at + uring.SQE_ADDR)) ?? 'nothing'
    this.written.set(fd, [...(this.written.get(fd) ?? []), packet.slice(0, this.sqes[at + uring.SQE_LEN])])
  }

  #cancel(target: number, userData: number): void {
    const found = [...this.#reads].find(([, read]) => read.userData === target)
    this.#completions.push([userData, found ? 0 : -2, 0])
    if (found === undefined) return
    this.#reads.delete(found[0])
    this.#completions.push([target, -ECANCELED, 0])
  }

  #receive(file: number, { userData, group }: Read): void {
    const fd = this.#files.get(file)!
    const end = (result: number) => {
      this.#reads.delete(file)
      this.#completions.push([userData, result, 0])
    }
    if (this.gone.has(fd)) end(-EBADFD)
    const queue = this.incoming.get(fd) ?? []
    const buffers = this.#buffers.get(group)!
    while (queue.length > 0 && this.#reads.has(file)) {
      const tail = buffers.rings[buffers.firstWord + 3]! >>> 16
      if (((tail - buffers.consumed) & 0xffff) === 0) {
        end(-ENOBUFS)
        return
      }
      const entry = buffers.firstWord + 4 * (buffers.consumed % BUFFERS)
      buffers.consumed++
      const packet = queue.shift()!
      this.memory.set(pointer(buffers.rings, entry), packet)
      const id = buffers.rings[entry + 3]! & 0xffff
      this.#completions.push([userData, packet.length, uring.IORING_CQE_F_MORE | F_BUFFER | (id << uring.IORING_CQE_BUFFER_SHIFT)])
    }
  }
}

const pointer = (words: Int32Array, at: number) => (words[at]! >>> 0) + (words[at + 1]! >>> 0) * 0x1_0000_0000
