/** The wires of this process: pairs of TUN descriptors joined by threads. See uring.ts for what a thread does with them. */
import { closeSync, writeSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { ioUringRefusal } from '../../linux/io-uring.ts'
import { eventfd } from '../../linux/libc.ts'
import { EFD_CLOEXEC } from '../../linux/uapi.ts'
import * as table from './table.ts'

/** A thread that dies at once must not be started in a busy loop. */
const RESTART_MS = 50
const MAX_THREADS = 4

export interface WiresOptions {
  /** The script that a worker thread runs: it must call workerMain() when its first argument is WIRE_THREAD. */
  entry: string | URL
  /** A device of this wire is gone; the wire is still to be removed. */
  onGone(id: string): void
  /** Default: io_uring where it can be used. */
  mode?: table.Mode | undefined
  /** Microseconds to look for more packets before a thread sleeps; default 0. */
  spin?: number
  /** Default: one less than there are CPUs, at least one, at most MAX_THREADS. */
  threads?: number
}

/** Packets and bytes (each with its virtio_net_hdr) taken from one end; how many of those packets the other end refused. */
export interface Counters {
  packets: number
  bytes: number
  drops: number
}

/** Both ends of a wire. */
export interface Ends {
  podFd: number
  hostFd: number
}

interface Wire extends Ends {
  thread: WireThread
  slot: number
}

export class Wires {
  readonly mode: table.Mode
  /** Why it is not io_uring. */
  readonly refusal: string | undefined
  readonly #options: WiresOptions
  readonly #wires = new Map<string, Wire>()
  readonly #threads: WireThread[] = []
  readonly #maxThreads: number

  constructor(options: WiresOptions) {
    this.#options = options
    this.refusal = options.mode === 'epoll' ? undefined : ioUringRefusal()
    this.mode = options.mode ?? (this.refusal === undefined ? 'io_uring' : 'epoll')
    this.#maxThreads = options.threads ?? Math.min(Math.max(availableParallelism() - 1, 1), MAX_THREADS)
  }

  /** Threads running; those under SCHED_RR, which they are while the machine is starved of CPU. */
  get threads(): { running: number; realtime: number } {
    return { running: this.#threads.length, realtime: this.#threads.filter(({ realtime }) => realtime).length }
  }

  /** Joins two non-blocking TUN descriptors, which belong to this object from now on. Throws RangeError when there is no room. */
  add(id: string, { podFd, hostFd }: Ends): void {
    const thread = this.#leastLoaded()
    this.#wires.set(id, { podFd, hostFd, thread, slot: thread.join(podFd, hostFd) })
  }

  /** Lets go of the wire; its descriptors are the caller's again. Undefined when there is no such wire. */
  async release(id: string): Promise<Ends | undefined> {
    const wire = this.#wires.get(id)
    if (wire === undefined) return undefined
    this.#wires.delete(id)
    await wire.thread.part(wire.slot)
    return { podFd: wire.podFd, hostFd: wire.hostFd }
  }

  /** Lets go of the wire and closes its descriptors. */
  async remove(id: string): Promise<void> {
    const ends = await this.release(id)
    if (ends === undefined) return
    closeSync(ends.podFd)
    closeSync(ends.hostFd)
  }

  /** By direction; read while the threads go on. */
  counters(id: string): { podToHost: Counters; hostToPod: Counters } | undefined {
    const wire = this.#wires.get(id)
    return wire && { podToHost: wire.thread.counters(wire.slot, table.POD), hostToPod: wire.thread.counters(wire.slot, table.HOST) }
  }

  /** Gives memory of wires that carry nothing back to the kernel. */
  trim(): void {
    for (const thread of this.#threads) thread.trim()
  }

  /** Ends the threads and closes every descriptor. */
  async close(): Promise<void> {
    await Promise.all(this.#threads.map(thread => thread.stop()))
    for (const { podFd, hostFd } of this.#wires.values()) {
      closeSync(podFd)
      closeSync(hostFd)
    }
    this.#wires.clear()
  }

  #leastLoaded(): WireThread {
    const least = this.#threads.reduce<WireThread | undefined>(
      (best, thread) => (best && best.load <= thread.load ? best : thread),
      undefined,
    )
    if (least !== undefined && (least.load === 0 || this.#threads.length === this.#maxThreads)) return least
    const thread = new WireThread(this.#options, this.mode, slot => this.#gone(thread, slot))
    this.#threads.push(thread)
    return thread
  }

  #gone(thread: WireThread, slot: number): void {
    const found = [...this.#wires].find(([, wire]) => wire.thread === thread && wire.slot === slot)
    if (found !== undefined) this.#options.onGone(found[0])
  }
}

/** One thread and the table that it shares with this one. A thread that dies is replaced by one that finds everything in the table. */
class WireThread {
  load = 0
  readonly #entry: string | URL
  readonly #onGone: (slot: number) => void
  readonly #shared: table.Shared
  readonly #free = Array.from({ length: table.MAX_WIRES }, (_, index) => table.MAX_WIRES - 1 - index)
  readonly #parted = new Map<number, () => void>()
  #packetsAtTrim = 0
  #worker: Worker

  constructor({ entry, spin = 0 }: WiresOptions, mode: table.Mode, onGone: (slot: number) => void) {
    this.#entry = entry
    this.#onGone = onGone
    this.#shared = table.createShared(mode, spin, eventfd(0, EFD_CLOEXEC))
    this.#worker = this.#start()
  }

  get realtime(): boolean {
    return this.#shared.control[table.REALTIME] === 1
  }

  /** The slot that the wire got. */
  join(podFd: number, hostFd: number): number {
    const slot = this.#free.pop()
    if (slot === undefined) throw new RangeError(`Cannot join more than ${table.MAX_WIRES} wires in one thread`)
    const { wanted, counters } = this.#shared
    const at = slot * table.WANTED_WORDS
    wanted[at + table.POD] = podFd
    wanted[at + table.HOST] = hostFd
    counters.fill(0, slot * 2 * table.COUNTER_FIELDS, (slot + 1) * 2 * table.COUNTER_FIELDS)
    Atomics.add(wanted, at + table.GENERATION, 1)
    this.load++
    setImmediate(() => this.#wake()) // after the answer to the ADD: packets wait in the devices, the runtime waits for the process
    return slot
  }

  /** Resolves when the thread has let go of both descriptors. */
  part(slot: number): Promise<void> {
    const parted = new Promise<void>(resolve => this.#parted.set(slot, resolve))
    Atomics.add(this.#shared.wanted, slot * table.WANTED_WORDS + table.GENERATION, 1)
    this.#wake()
    return parted
  }

  counters(slot: number, end: number): Counters {
    const { counters } = this.#shared
    const at = (2 * slot + end) * table.COUNTER_FIELDS
    return { packets: counters[at + table.PACKETS]!, bytes: counters[at + table.BYTES]!, drops: counters[at + table.DROPS]! }
  }

  /** Wakes the thread only if packets have passed since the last time, and none does now. */
  trim(): void {
    const { counters, control } = this.#shared
    const packets = counters.reduce((sum, value, index) => (index % table.COUNTER_FIELDS === table.PACKETS ? sum + value : sum), 0)
    if (packets === this.#packetsAtTrim) return
    this.#packetsAtTrim = packets
    Atomics.store(control, table.TRIM, 1)
    this.#wake()
  }

  async stop(): Promise<void> {
    const ended = new Promise(resolve => this.#worker.once('exit', resolve))
    Atomics.store(this.#shared.control, table.STOP, 1)
    this.#wake()
    await ended
    closeSync(this.#shared.wakeFd)
  }

  #start(): Worker {
    const worker = new Worker(this.#entry, {
      argv: [table.WIRE_THREAD],
      workerData: this.#shared,
      trackUnmanagedFds: false, // Node would warn of descriptors that the thread has from system calls
    })
    worker.on('message', (report: table.Report) => ('gone' in report ? this.#onGone(report.wire) : this.#settled(report)))
    worker.on('error', error => process.stderr.write(`A wire's thread failed and is started again: ${error.message}\n`))
    worker.on('exit', () => {
      if (Atomics.load(this.#shared.control, table.STOP) === 1) return
      this.#closeRing()
      setTimeout(() => {
        if (Atomics.load(this.#shared.control, table.STOP) === 0) this.#worker = this.#start()
      }, RESTART_MS)
    })
    return worker
  }

  #settled({ wire, generation }: { wire: number; generation: number }): void {
    const isLast = generation === this.#shared.wanted[wire * table.WANTED_WORDS + table.GENERATION]
    if ((generation & 1) === 1 || !isLast) return
    this.load--
    this.#free.push(wire)
    this.#parted.get(wire)?.()
    this.#parted.delete(wire)
  }

  /** What a thread leaves that died: a ring that holds on to every device. */
  #closeRing(): void {
    const fd = Atomics.exchange(this.#shared.control, table.RING_FD, -1)
    if (fd >= 0) closeSync(fd)
  }

  #wake(): void {
    const one = Buffer.alloc(8)
    one[0] = 1
    writeSync(this.#shared.wakeFd, one)
  }
}
