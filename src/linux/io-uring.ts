/**
 * io_uring(7) through koffi: the submission and completion queues are memory shared with the
 * kernel, seen here as typed arrays. One io_uring_enter(2) submits all queued requests and returns
 * all completions.
 */
import { closeSync } from 'node:fs'
import { SyscallError } from './errno.ts'
import { addressOf, errno, func, keepAlive, mmap, view } from './libc.ts'

// <linux/io_uring.h>
export const IORING_OP_ASYNC_CANCEL = 14
export const IORING_OP_READ = 22
export const IORING_OP_WRITE = 23
export const IORING_OP_SEND = 26
export const IORING_OP_READ_MULTISHOT = 49 // Linux 6.7
export const IOSQE_FIXED_FILE = 1 << 0
export const IOSQE_ASYNC = 1 << 4
export const IOSQE_BUFFER_SELECT = 1 << 5
export const IOSQE_CQE_SKIP_SUCCESS = 1 << 6
export const IORING_CQE_F_MORE = 1 << 1
export const IORING_CQE_BUFFER_SHIFT = 16
const IORING_OFF_SQ_RING = 0
const IORING_OFF_SQES = 0x10000000
const IORING_SETUP_CQSIZE = 1 << 3
const IORING_SETUP_CLAMP = 1 << 4
const IORING_SETUP_SUBMIT_ALL = 1 << 7
const IORING_SETUP_SINGLE_ISSUER = 1 << 12
const IORING_SETUP_DEFER_TASKRUN = 1 << 13
const IORING_SETUP_NO_SQARRAY = 1 << 16 // Linux 6.6
const IORING_ENTER_GETEVENTS = 1
const IORING_REGISTER_FILES_UPDATE = 6
const IORING_REGISTER_PROBE = 8
const IORING_REGISTER_FILES2 = 13
const IORING_REGISTER_PBUF_RING = 22
const IORING_UNREGISTER_PBUF_RING = 23
const IORING_RSRC_REGISTER_SPARSE = 1
const IO_URING_OP_SUPPORTED = 1

/** Offsets, in words of 32 bits, of the fields of a struct io_uring_sqe. */
export const SQE_WORDS = 16
export const SQE_FD = 1
export const SQE_OFF = 2
export const SQE_ADDR = 4
export const SQE_LEN = 6
export const SQE_USER_DATA = 8
export const SQE_BUF_GROUP = 10

const SYS_IO_URING_SETUP = 425 // the same number on every architecture
const SYS_IO_URING_ENTER = 426
const SYS_IO_URING_REGISTER = 427
const PROT_READ_WRITE = 3
const MAP_SHARED_POPULATE = 0x8001

const setup = func('syscall', 'int', ['int', 'uint32_t', 'uint64_t']) as (number: number, entries: number, params: number) => number
const enter = func('syscall', 'int', ['int', 'int', 'uint32_t', 'uint32_t', 'uint32_t', 'uint64_t', 'uint64_t']) as (
  number: number,
  ring: number,
  submit: number,
  least: number,
  flags: number,
  signals: number,
  size: number,
) => number
const register = func('syscall', 'int', ['int', 'int', 'uint32_t', 'uint64_t', 'uint32_t']) as (
  number: number,
  ring: number,
  operation: number,
  argument: number,
  count: number,
) => number

export class IoUring implements Disposable {
  readonly fd: number
  /** The requests, SQE_WORDS words each: next() says where the next one goes. */
  readonly sqes: Int32Array
  readonly #ring: Int32Array
  readonly #sqHead: number
  readonly #sqTail: number
  readonly #sqMask: number
  readonly #cqHead: number
  readonly #cqTail: number
  readonly #cqMask: number
  readonly #cqes: number
  #tail: number
  #queued = 0

  /**
   * `entries` requests may be queued, `completions` may wait to be reaped. Throws SyscallError:
   * EPERM where io_uring is forbidden, ENOSYS, EINVAL where it is too old.
   */
  constructor(entries: number, completions: number) {
    const params = Buffer.alloc(120) // struct io_uring_params
    params.writeUInt32LE(completions, 4)
    params.writeUInt32LE(
      IORING_SETUP_CQSIZE |
        IORING_SETUP_CLAMP |
        IORING_SETUP_SUBMIT_ALL |
        IORING_SETUP_SINGLE_ISSUER |
        IORING_SETUP_DEFER_TASKRUN |
        IORING_SETUP_NO_SQARRAY,
      8,
    )
    this.fd = checked('io_uring_setup', setup(SYS_IO_URING_SETUP, entries, addressOf(params)))
    const [sqEntries, cqEntries] = [params.readUInt32LE(0), params.readUInt32LE(4)]
    // struct io_sqring_offsets at 40, io_cqring_offsets at 80
    const word = (offset: number) => params.readUInt32LE(offset) / 4
    const cqes = params.readUInt32LE(80 + 20)
    const size = cqes + cqEntries * 16
    this.#ring = new Int32Array(view(mmap(0, size, PROT_READ_WRITE, MAP_SHARED_POPULATE, this.fd, IORING_OFF_SQ_RING), size))
    const sqes = mmap(0, sqEntries * SQE_WORDS * 4, PROT_READ_WRITE, MAP_SHARED_POPULATE, this.fd, IORING_OFF_SQES)
    this.sqes = new Int32Array(view(sqes, sqEntries * SQE_WORDS * 4))
    this.#sqHead = word(40)
    this.#sqTail = word(40 + 4)
    this.#sqMask = sqEntries - 1
    this.#cqHead = word(80)
    this.#cqTail = word(80 + 4)
    this.#cqMask = cqEntries - 1
    this.#cqes = cqes / 4
    this.#tail = this.#ring[this.#sqTail]!
  }

  /**
   * Queues a request and returns its place in `sqes`; -1 when the queue is full. All fields are
   * zero but operation, descriptor and user_data, which every request has.
   */
  next(): number {
    if (this.#queued > this.#sqMask) return -1
    const at = (this.#tail & this.#sqMask) * SQE_WORDS
    for (let word = SQE_OFF; word <= SQE_LEN; word++) this.sqes[at + word] = 0
    this.sqes[at + SQE_BUF_GROUP] = 0
    this.#tail = (this.#tail + 1) | 0
    this.#queued++
    return at
  }

  /**
   * Submits the queued requests, in order, and waits for at least `least` completions. Returns how
   * many requests were taken, which may be fewer than were queued: the rest stays queued.
   */
  submit(least: number): number {
    this.#ring[this.#sqTail] = this.#tail
    const taken = enter(SYS_IO_URING_ENTER, this.fd, this.#queued, least, IORING_ENTER_GETEVENTS, 0, 0)
    if (taken < 0) {
      const reason = errno()
      if (reason !== EINTR && reason !== EAGAIN && reason !== EBUSY) throw new SyscallError('io_uring_enter', reason)
      // After a signal the kernel reports success; the queue's head says how many requests it took.
    }
    const left = (this.#tail - this.#ring[this.#sqHead]!) | 0
    const submitted = this.#queued - left
    this.#queued = left
    return submitted
  }

  /** Calls `visit` for each completion, until `visit` returns false (that one counts as reaped). */
  reap(visit: (userData: number, result: number, flags: number) => boolean): void {
    const ring = this.#ring
    const tail = ring[this.#cqTail]!
    let head = ring[this.#cqHead]!
    for (let more = true; more && head !== tail; head = (head + 1) | 0) {
      const at = this.#cqes + ((head & this.#cqMask) << 2)
      more = visit(ring[at]!, ring[at + 2]!, ring[at + 3]!)
    }
    ring[this.#cqHead] = head
  }

  /** Room for `count` fixed files, none of them set. */
  registerFiles(count: number): void {
    const sparse = Buffer.alloc(32) // struct io_uring_rsrc_register
    sparse.writeUInt32LE(count, 0)
    sparse.writeUInt32LE(IORING_RSRC_REGISTER_SPARSE, 4)
    this.#register(`${count} files`, IORING_REGISTER_FILES2, sparse, sparse.length)
  }

  /** Sets fixed file `index` to `fd`; -1 removes it. */
  setFile(index: number, fd: number): void {
    const fds = Buffer.alloc(4)
    fds.writeInt32LE(fd)
    const update = Buffer.alloc(16) // struct io_uring_files_update
    update.writeUInt32LE(index, 0)
    update.writeBigUInt64LE(BigInt(addressOf(fds)), 8)
    this.#register('a file', IORING_REGISTER_FILES_UPDATE, update, 1)
    keepAlive(fds)
  }

  /**
   * A ring of `entries` (a power of two) buffers for IOSQE_BUFFER_SELECT at `address`,
   * page-aligned, under the number `group`.
   */
  registerBuffers(group: number, address: number, entries: number): void {
    const buffers = Buffer.alloc(40) // struct io_uring_buf_reg
    buffers.writeBigUInt64LE(BigInt(address), 0)
    buffers.writeUInt32LE(entries, 8)
    buffers.writeUInt16LE(group, 12)
    this.#register('a buffer ring', IORING_REGISTER_PBUF_RING, buffers, 1)
  }

  unregisterBuffers(group: number): void {
    const buffers = Buffer.alloc(40)
    buffers.writeUInt16LE(group, 12)
    this.#register('no buffer ring', IORING_UNREGISTER_PBUF_RING, buffers, 1)
  }

  /** True when this kernel knows the operation. */
  supports(operation: number): boolean {
    // struct io_uring_probe, then a struct io_uring_probe_op each
    const probe = Buffer.alloc(16 + 8 * 256)
    this.#register('a probe', IORING_REGISTER_PROBE, probe, 256)
    return operation <= probe[0]! && (probe.readUInt16LE(16 + 8 * operation + 2) & IO_URING_OP_SUPPORTED) !== 0
  }

  #register(what: string, operation: number, argument: Buffer, count: number): void {
    checked(`io_uring_register of ${what}`, register(SYS_IO_URING_REGISTER, this.fd, operation, addressOf(argument), count))
    keepAlive(argument)
  }

  /**
   * Cancels every request and closes every file. The thread that made the ring must not use it
   * again.
   */
  [Symbol.dispose](): void {
    closeSync(this.fd)
  }
}

const EINTR = 4
const EAGAIN = 11
const EBUSY = 16

function checked(syscall: string, result: number): number {
  if (result < 0) throw new SyscallError(syscall, errno())
  return result
}
