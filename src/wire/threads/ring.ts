/**
 * The io_uring of a thread, and whether it is possible here: the trial uses the same flags and
 * sizes.
 */
import { closeSync } from 'node:fs'
import { IORING_OP_READ_MULTISHOT, IOSQE_BUFFER_SELECT, IOSQE_FIXED_FILE, IoUring, SQE_FD, SQE_OFF } from '../../linux/io-uring.ts'
import { addressOf, eventfd, keepAlive, mmap, munmap, view } from '../../linux/libc.ts'
import { EFD_CLOEXEC, EFD_NONBLOCK, MAP_ANONYMOUS, MAP_PRIVATE, PROT_READ, PROT_WRITE } from '../../linux/uapi.ts'
import { BUFFERS, RING_BYTES, setBuffer } from './uring.ts'

const SUBMISSIONS = 1024
const COMPLETIONS = 4096
const EVENT_BYTES = 8 // bytes that reading an eventfd returns

/** Wires of one thread when nothing limits them. */
const MAX_WIRES = 4096

/** Fixed files that a thread registers for `wires` wires: one for each end, and the eventfd. */
const filesFor = (wires: number) => 2 * wires + 1

/**
 * Wires of one thread in a process that may open `openFiles` files: the kernel lets no process
 * register more fixed files than that (io_sqe_files_register). At least 1.
 */
export const wiresPerThread = (openFiles: number): number => Math.max(1, Math.min(MAX_WIRES, Math.floor((openFiles - 1) / 2)))

/** The fixed file of the eventfd. */
export const wakeFile = (wires: number): number => filesFor(wires) - 1

/** A ring with room for `wires` wires, whose last fixed file is `wakeFd`. Throws SyscallError. */
export function openRing(wires: number, wakeFd: number): IoUring {
  const ring = new IoUring(SUBMISSIONS, COMPLETIONS)
  try {
    ring.registerFiles(filesFor(wires))
    ring.setFile(wakeFile(wires), wakeFd)
    return ring
  } catch (error) {
    ring[Symbol.dispose]()
    throw error
  }
}

/**
 * Why no thread of `wires` wires can use io_uring (it is forbidden, too old, or short of
 * something); undefined when one can.
 */
export function ioUringRefusal(wires: number): string | undefined {
  const event = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK)
  try {
    using ring = openRing(wires, event)
    if (!ring.supports(IORING_OP_READ_MULTISHOT)) return 'this kernel lacks IORING_OP_READ_MULTISHOT (Linux 6.7)'
    return readOnce(ring, wakeFile(wires))
  } catch (error) {
    return (error as Error).message
  } finally {
    closeSync(event)
  }
}

/**
 * Reads the readable `file` by a multishot read into a buffer ring; returns why that does not work.
 */
function readOnce(ring: IoUring, file: number): string | undefined {
  const memory = mmap(0, RING_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
  try {
    const buffer = Buffer.alloc(EVENT_BYTES)
    const words = new Int32Array(view(memory, RING_BYTES))
    setBuffer(words, 0, addressOf(buffer), EVENT_BYTES, 0)
    words[3] = 1 << 16 // the ring's tail: there is one buffer
    ring.registerBuffers(0, memory, BUFFERS)
    const at = ring.next()
    ring.sqes[at] = IORING_OP_READ_MULTISHOT | ((IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT) << 8)
    ring.sqes[at + SQE_FD] = file
    ring.sqes[at + SQE_OFF] = -1
    ring.sqes[at + SQE_OFF + 1] = -1
    ring.submit(1)
    let result = 0
    ring.reap((_, first) => {
      result = first
      return false
    })
    keepAlive(buffer)
    return result === EVENT_BYTES ? undefined : `a multishot read of an eventfd gave ${result} instead of ${EVENT_BYTES}`
  } finally {
    munmap(memory, RING_BYTES) // the kernel keeps its own reference until the ring is closed
  }
}
