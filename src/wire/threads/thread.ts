/**
 * One thread of wires, seen from the main thread. When it fails, another one replaces it, and finds
 * everything in the table that they share.
 */
import { closeSync, writeSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import { eventfd } from '../../linux/libc.ts'
import { tell } from '../../linux/read-write.ts'
import { EFD_CLOEXEC } from '../../linux/uapi.ts'
import type { Counters } from '../wire.ts'
import { FAILURES_OF_IO_URING, Restarts } from './restarts.ts'
import * as table from './table.ts'

export interface ThreadOptions {
  /** See WiresOptions. */
  entry: string | URL
  mode: table.Mode
  /** Microseconds. */
  spin: number
  /** Wires. */
  room: number
}

/** A thread that has failed is started again within less than this, unless none can be had. */
const STUCK_MS = 1_000
/**
 * The time to wait for a thread to carry a new wire: longer than a thread needs that goes over to
 * epoll first, shorter than a plugin waits for its agent.
 */
const CARRIED_MS = 6_000

export class WireThread {
  /** Number of joined wires. */
  load = 0
  readonly #entry: string | URL
  readonly #onGone: (slot: number) => void
  readonly #onWithoutIoUring: (reason: string) => void
  readonly #shared: table.Shared
  readonly #free: number[]
  readonly #parted = new Map<number, () => void>()
  /** Slots of the wires that the present thread has taken up. */
  readonly #carried = new Set<number>()
  readonly #onCarried = new Map<number, () => void>()
  readonly #restarts = new Restarts()
  #packetsAtTrim = 0
  /** Undefined while it waits to be started again. */
  #worker: Worker | undefined
  #restart: NodeJS.Timeout | undefined
  /** When the last thread ended; undefined while one runs. */
  #downSinceMs: number | undefined
  /** Why the last thread ended, or what the present one does. */
  #reason = ''

  /**
   * `onGone`: a device of this wire is gone. `onWithoutIoUring`: the thread goes on by epoll, as
   * io_uring has failed.
   */
  constructor({ entry, ...options }: ThreadOptions, onGone: (slot: number) => void, onWithoutIoUring: (reason: string) => void) {
    this.#entry = entry
    this.#onGone = onGone
    this.#onWithoutIoUring = onWithoutIoUring
    this.#shared = table.createShared({ ...options, wakeFd: eventfd(0, EFD_CLOEXEC) })
    this.#free = Array.from({ length: options.room }, (_, index) => options.room - 1 - index)
    this.#start()
  }

  get isRunning(): boolean {
    return this.#worker !== undefined
  }

  /**
   * True when no thread has run for a second: its wires carry nothing, and starting one is tried
   * again and again.
   */
  get isStuck(): boolean {
    return this.#downSinceMs !== undefined && performance.now() - this.#downSinceMs > STUCK_MS
  }

  get realtime(): boolean {
    return this.#shared.control[table.REALTIME] === 1
  }

  /**
   * Returns the wire's slot. Throws RangeError when there is no room for more than the present
   * `load` wires.
   */
  join(podFd: number, hostFd: number): number {
    const slot = this.#free.pop()
    if (slot === undefined) throw new RangeError(`Cannot join more than ${this.#shared.room} wires in one thread`)
    const { wanted, counters } = this.#shared
    const at = slot * table.WANTED_WORDS
    wanted[at + table.POD] = podFd
    wanted[at + table.HOST] = hostFd
    counters.fill(0, slot * 2 * table.COUNTER_FIELDS, (slot + 1) * 2 * table.COUNTER_FIELDS)
    Atomics.add(wanted, at + table.GENERATION, 1)
    this.load++
    this.#wake()
    return slot
  }

  /**
   * Resolves when a thread carries the wire. Rejects when none does in time: kernel.threads-max, or
   * pids.max of the cgroup, lets no thread start.
   */
  carried(slot: number, patienceMs = CARRIED_MS): Promise<void> {
    if (this.#carried.has(slot)) return Promise.resolve()
    return new Promise((resolve, reject) => {
      const done = () => {
        clearTimeout(timer)
        resolve()
      }
      const timer = setTimeout(() => {
        // the slot may be another wire's by now, for which somebody else waits
        if (this.#onCarried.get(slot) === done) this.#onCarried.delete(slot)
        reject(new Error(`no thread carries the link's packets after ${patienceMs / 1000} s: ${this.#reason}`))
      }, patienceMs)
      this.#onCarried.set(slot, done)
    })
  }

  /** Resolves when no thread uses either descriptor any more. */
  part(slot: number): Promise<void> {
    const parted = new Promise<void>(resolve => this.#parted.set(slot, resolve))
    this.#carried.delete(slot)
    Atomics.add(this.#shared.wanted, slot * table.WANTED_WORDS + table.GENERATION, 1)
    if (this.#worker === undefined) this.#settle(slot)
    else this.#wake()
    return parted
  }

  /**
   * Packets read from this end; bytes include the virtio_net_hdr of each; drops are packets that
   * the other end refused.
   */
  counters(slot: number, end: number): Counters {
    const { counters } = this.#shared
    const at = (2 * slot + end) * table.COUNTER_FIELDS
    return { packets: counters[at + table.PACKETS]!, bytes: counters[at + table.BYTES]!, drops: counters[at + table.DROPS]! }
  }

  /** Wakes the thread only if packets have passed since the last time, and none passes now. */
  trim(): void {
    const { counters, control } = this.#shared
    const packets = counters.reduce((sum, value, index) => (index % table.COUNTER_FIELDS === table.PACKETS ? sum + value : sum), 0)
    if (packets === this.#packetsAtTrim) return
    this.#packetsAtTrim = packets
    Atomics.store(control, table.TRIM, 1)
    this.#wake()
  }

  async stop(): Promise<void> {
    Atomics.store(this.#shared.control, table.STOP, 1)
    clearTimeout(this.#restart)
    const worker = this.#worker
    if (worker !== undefined) {
      const ended = new Promise(resolve => worker.once('exit', resolve))
      this.#wake()
      await ended
    }
    closeSync(this.#shared.wakeFd)
  }

  #start(): void {
    const startedMs = performance.now()
    this.#reason = 'it has not started'
    try {
      const worker = new Worker(this.#entry, {
        argv: [table.WIRE_THREAD],
        workerData: this.#shared,
        // otherwise Node would warn about descriptors that the thread has opened by system calls
        trackUnmanagedFds: false,
      })
      worker.on('message', (report: table.Report) => ('gone' in report ? this.#onGone(report.wire) : this.#settled(report)))
      worker.on('online', () => {
        this.#downSinceMs = undefined
        this.#reason = 'it ended by itself'
      })
      worker.on('error', error => {
        this.#reason = error.message
      })
      worker.on('exit', () => this.#ended(startedMs))
      this.#worker = worker
    } catch (error) {
      // no thread can be started: kernel.threads-max, or pids.max of the cgroup
      this.#reason = (error as Error).message
      this.#ended(startedMs)
    }
  }

  /**
   * The thread has ended: it uses no descriptor any more, and another one is started after a while.
   */
  #ended(startedMs: number): void {
    const reason = this.#reason
    this.#worker = undefined
    this.#carried.clear()
    this.#downSinceMs ??= performance.now()
    const { control } = this.#shared
    if (Atomics.load(control, table.STOP) === 1) return // it has closed its ring itself
    this.#closeRing()
    for (const slot of this.#parted.keys()) this.#settle(slot)
    Atomics.store(control, table.REALTIME, 0)
    const { afterMs, mode } = this.#restarts.failed(this.#shared.mode, performance.now() - startedMs)
    if (mode !== this.#shared.mode) {
      this.#shared.mode = mode
      this.#onWithoutIoUring(`its thread failed ${FAILURES_OF_IO_URING} times: ${reason}`)
    }
    tell(`A wire's thread failed and is started again in ${afterMs} ms, by ${mode}: ${reason}`)
    this.#restart = setTimeout(() => this.#start(), afterMs)
  }

  /**
   * A replacement reports every wire that there ever was: only those that somebody waits for
   * matter.
   */
  #settled({ wire, generation }: { wire: number; generation: number }): void {
    if (generation !== this.#shared.wanted[wire * table.WANTED_WORDS + table.GENERATION]) return
    if ((generation & 1) === 0) this.#settle(wire)
    else {
      this.#carried.add(wire)
      this.#onCarried.get(wire)?.()
      this.#onCarried.delete(wire)
    }
  }

  #settle(slot: number): void {
    const parted = this.#parted.get(slot)
    if (parted === undefined) return
    this.#parted.delete(slot)
    this.load--
    this.#free.push(slot)
    parted()
  }

  /** Closes what a dead thread has left: a ring that holds every device open. */
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
