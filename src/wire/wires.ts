/** The wires of this process: pairs of TUN descriptors joined by a thread. See worker.ts for what it does with them. */
import { closeSync, writeSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import { epollCreate, epollCtl, eventfd } from '../linux/libc.ts'
import { EFD_CLOEXEC, EFD_NONBLOCK, EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLLIN } from '../linux/uapi.ts'
import { createShared, type Gone, MAX_FDS, ROUND, type Shared, STOP } from './shared.ts'

/** A thread that dies at once must not be started in a busy loop. */
const RESTART_MS = 50

export interface WiresOptions {
  /** The script that a worker thread runs: it must call workerMain(). */
  entry: string | URL
  /** A device of this wire is gone; the wire is still to be removed. */
  onGone(id: string): void
}

/** Packets and bytes (each with its virtio_net_hdr) passed, and packets dropped. */
export interface Counters {
  packets: number
  bytes: number
  drops: number
}

export class Wires {
  readonly mode = 'epoll'
  readonly #options: WiresOptions
  readonly #shared: Shared
  readonly #wires = new Map<string, { podFd: number; hostFd: number }>()
  #worker: Worker

  constructor(options: WiresOptions) {
    this.#options = options
    this.#shared = createShared(epollCreate(EPOLL_CLOEXEC), eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK))
    this.#watch(this.#shared.wakeFd)
    this.#worker = this.#start()
  }

  /** Joins two non-blocking TUN descriptors, which belong to this object from now on. */
  add(id: string, podFd: number, hostFd: number): void {
    if (Math.max(podFd, hostFd) >= MAX_FDS) throw new RangeError(`Cannot join descriptors ${podFd} and ${hostFd}: at most ${MAX_FDS - 1}`)
    const { peer, counters } = this.#shared
    for (const fd of [podFd, hostFd]) counters.fill(0, 3 * fd, 3 * fd + 3)
    Atomics.store(peer, podFd, hostFd)
    Atomics.store(peer, hostFd, podFd)
    this.#wires.set(id, { podFd, hostFd })
    this.#watch(podFd)
    this.#watch(hostFd)
  }

  /** Lets go of the wire and closes its descriptors, once the thread is surely not using them. */
  async remove(id: string): Promise<void> {
    const wire = this.#wires.get(id)
    if (wire === undefined) return
    this.#wires.delete(id)
    for (const fd of [wire.podFd, wire.hostFd]) {
      this.#unwatch(fd)
      Atomics.store(this.#shared.peer, fd, 0)
    }
    await this.#nextRound()
    closeSync(wire.podFd)
    closeSync(wire.hostFd)
  }

  /** By direction; read while the thread goes on. */
  counters(id: string): { podToHost: Counters; hostToPod: Counters } | undefined {
    const wire = this.#wires.get(id)
    return wire && { podToHost: this.#countersOf(wire.podFd), hostToPod: this.#countersOf(wire.hostFd) }
  }

  /** Ends the thread and closes every descriptor. */
  async close(): Promise<void> {
    const ended = new Promise(resolve => this.#worker.once('exit', resolve))
    Atomics.store(this.#shared.control, STOP, 1)
    this.#wake()
    await ended
    for (const { podFd, hostFd } of this.#wires.values()) {
      closeSync(podFd)
      closeSync(hostFd)
    }
    this.#wires.clear()
    closeSync(this.#shared.epollFd)
    closeSync(this.#shared.wakeFd)
  }

  /** A thread that dies is replaced by one that finds everything where it was. */
  #start(): Worker {
    const worker = new Worker(this.#options.entry, { workerData: this.#shared })
    worker.on('message', ({ fd }: Gone) => {
      const found = [...this.#wires].find(([, wire]) => wire.podFd === fd || wire.hostFd === fd)
      if (found !== undefined) this.#options.onGone(found[0])
    })
    worker.on('error', error => process.stderr.write(`The wire's thread failed: ${error.message}\n`))
    worker.on('exit', () => {
      setTimeout(() => {
        if (Atomics.load(this.#shared.control, STOP) === 0) this.#worker = this.#start()
      }, RESTART_MS)
    })
    return worker
  }

  #watch(fd: number): void {
    epollCtl(this.#shared.epollFd, EPOLL_CTL_ADD, fd, epollEvent(fd))
  }

  #unwatch(fd: number): void {
    try {
      epollCtl(this.#shared.epollFd, EPOLL_CTL_DEL, fd, epollEvent(fd))
    } catch {
      // The thread has let go of it already: its device is gone.
    }
  }

  #wake(): void {
    const one = Buffer.alloc(8)
    one[0] = 1
    writeSync(this.#shared.wakeFd, one)
  }

  /** Resolves when the thread has begun a turn after this call. Two rounds: the one under way may have begun before. */
  async #nextRound(): Promise<void> {
    const { control } = this.#shared
    const target = Atomics.load(control, ROUND) + 2
    while (((target - Atomics.load(control, ROUND)) | 0) > 0) {
      this.#wake()
      await new Promise(resolve => setTimeout(resolve, 1))
    }
  }

  #countersOf(fd: number): Counters {
    const { counters } = this.#shared
    return { packets: counters[3 * fd]!, bytes: counters[3 * fd + 1]!, drops: counters[3 * fd + 2]! }
  }
}

/** struct epoll_event with the descriptor as its data: packed on x86-64 only. */
function epollEvent(fd: number): Buffer {
  const event = Buffer.alloc(16)
  event.writeUInt32LE(EPOLLIN, 0)
  event.writeInt32LE(fd, process.arch === 'x64' ? 4 : 8)
  return event
}
