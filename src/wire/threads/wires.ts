/**
 * The thread wires of this process: pairs of TUN descriptors that threads join. uring.ts says what
 * a thread does with them.
 */
import { closeSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { raiseOpenFiles } from '../../linux/rlimit.ts'
import type { Counters } from '../wire.ts'
import { ioUringRefusal, wiresPerThread } from './ring.ts'
import * as table from './table.ts'
import { WireThread } from './thread.ts'

const MAX_THREADS = 4

export interface WiresOptions {
  /**
   * The script that a worker thread runs: it must call workerMain() when its first argument is
   * WIRE_THREAD.
   */
  entry: string | URL
  /** A device of this wire is gone; the wire must still be removed. */
  onGone(id: string): void
  /** Default: io_uring where it can be used. */
  mode?: table.Mode | undefined
  /** Microseconds to look for more packets before a thread sleeps; default 0. */
  spin?: number
  /**
   * Default: one less than there are CPUs, at least one, at most MAX_THREADS. More are started only
   * when these have no room left.
   */
  threads?: number
  /**
   * Wires of one thread. Default: as many as the limit of open files allows, see wiresPerThread().
   */
  room?: number
}

/** Both ends of a wire. */
export interface WireEnds {
  podFd: number
  hostFd: number
}

interface RunningWire extends WireEnds {
  thread: WireThread
  slot: number
}

export class Wires {
  /**
   * How wires are carried. A thread that io_uring has failed uses epoll from then on, and so does
   * every new one.
   */
  mode: table.Mode
  /** Why io_uring is not used. */
  refusal: string | undefined
  readonly #options: WiresOptions
  readonly #wires = new Map<string, RunningWire>()
  readonly #threads: WireThread[] = []
  readonly #maxThreads: number
  readonly #room: number

  constructor(options: WiresOptions) {
    this.#options = options
    this.#room = options.room ?? wiresPerThread(raiseOpenFiles())
    this.refusal = options.mode === 'epoll' ? undefined : ioUringRefusal(this.#room)
    this.mode = options.mode ?? (this.refusal === undefined ? 'io_uring' : 'epoll')
    this.#maxThreads = options.threads ?? Math.min(Math.max(availableParallelism() - 1, 1), MAX_THREADS)
  }

  /**
   * Threads that run, and those under SCHED_RR, which is set while the machine is starved of CPU.
   */
  get threads(): { running: number; realtime: number } {
    const running = this.#threads.filter(({ isRunning }) => isRunning)
    return { running: running.length, realtime: running.filter(({ realtime }) => realtime).length }
  }

  /** Joins two non-blocking TUN descriptors, which this object owns from now on. */
  add(id: string, { podFd, hostFd }: WireEnds): void {
    const thread = this.#leastLoaded()
    this.#wires.set(id, { podFd, hostFd, thread, slot: thread.join(podFd, hostFd) })
  }

  /**
   * Removes the wire, and returns its descriptors to the caller. Undefined when there is no such
   * wire.
   */
  async release(id: string): Promise<WireEnds | undefined> {
    const wire = this.#wires.get(id)
    if (wire === undefined) return undefined
    this.#wires.delete(id)
    await wire.thread.part(wire.slot)
    return { podFd: wire.podFd, hostFd: wire.hostFd }
  }

  /** Removes the wire and closes its descriptors. */
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

  /** Resolves when a thread carries the wire; rejects as WireThread.carried() does. */
  async carried(id: string): Promise<void> {
    const wire = this.#wires.get(id)
    await wire?.thread.carried(wire.slot)
  }

  /** False when the wire is not here, or its thread cannot be started: see WireThread.isStuck. */
  serves(id: string): boolean {
    return this.#wires.get(id)?.thread.isStuck === false
  }

  /** Gives the memory of idle wires back to the kernel. */
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

  /**
   * A thread with room. One thread more than the CPUs ask for is better than a pod without a
   * network.
   */
  #leastLoaded(): WireThread {
    const [least] = this.#threads.filter(({ load }) => load < this.#room).sort((one, other) => one.load - other.load)
    if (least !== undefined && (least.load === 0 || this.#threads.length >= this.#maxThreads)) return least
    const { entry, spin = 0 } = this.#options
    const thread = new WireThread(
      { entry, spin, room: this.#room, mode: this.mode },
      slot => this.#gone(thread, slot),
      this.#withoutIoUring,
    )
    this.#threads.push(thread)
    return thread
  }

  readonly #withoutIoUring = (reason: string): void => {
    this.mode = 'epoll'
    this.refusal ??= reason
  }

  #gone(thread: WireThread, slot: number): void {
    const found = [...this.#wires].find(([, wire]) => wire.thread === thread && wire.slot === slot)
    if (found !== undefined) this.#options.onGone(found[0])
  }
}
