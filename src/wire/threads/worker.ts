/** The thread itself: does what the shared table asks for, and passes packets in between. */
import { parentPort, workerData } from 'node:worker_threads'
import { addressOf, madvise, mmap, view } from '../../linux/libc.ts'
import { MADV_DONTNEED, MAP_ANONYMOUS, MAP_NORESERVE, MAP_PRIVATE, PROT_READ, PROT_WRITE } from '../../linux/uapi.ts'
import { EpollWires } from './epoll.ts'
import { openRing, wakeFile } from './ring.ts'
import { Starvation } from './starvation.ts'
import * as table from './table.ts'
import { BUFFERS_AT, UringWires, WIRE_MEMORY } from './uring.ts'

/** Runs until [STOP] is set. */
export function workerMain(): void {
  new WireWorker(workerData as table.Shared).run()
}

class WireWorker {
  readonly #shared: table.Shared
  readonly #wires: UringWires | EpollWires
  /**
   * Generation of each wire as the kernel has it; a wire that is being removed keeps its old one.
   */
  readonly #done: Int32Array
  readonly #parting = new Set<number>()
  readonly #wakeBuffer = Buffer.alloc(8)
  readonly #rings = new Map<number, Int32Array>()

  constructor(shared: table.Shared) {
    this.#shared = shared
    this.#done = new Int32Array(shared.room)
    this.#wires = shared.mode === 'io_uring' ? this.#openRing() : new EpollWires({ ...this.#callbacks, wakeFd: shared.wakeFd })
  }

  run(): void {
    const { control, spin } = this.#shared
    using starvation = new Starvation()
    try {
      this.#reconcile()
      let awakeUntil = 0
      while (control[table.STOP] === 0) {
        const passed = this.#wires.turn(spin > 0 && performance.now() < awakeUntil ? 0 : 1)
        const now = performance.now()
        if (passed) awakeUntil = now + spin / 1000
        else if (control[table.TRIM] === 1) this.#trim()
        starvation.check(now, this.#wires.packets)
        control[table.REALTIME] = starvation.realtime ? 1 : 0
      }
    } finally {
      // Runs in any case: a thread that fails again and again must not leak descriptors, and none
      // may be closed twice.
      control[table.RING_FD] = -1
      this.#wires[Symbol.dispose]()
    }
  }

  #openRing(): UringWires {
    const { control, counters, room, wakeFd } = this.#shared
    const ring = openRing(room, wakeFd)
    control[table.RING_FD] = ring.fd
    const options = { ...this.#callbacks, ring, counters, memory: (wire: number) => this.#memory(wire) }
    return new UringWires(options, wakeFile(room), addressOf(this.#wakeBuffer))
  }

  get #callbacks() {
    return {
      counters: this.#shared.counters,
      onGone: (wire: number) => this.#report({ wire, gone: true }),
      onParted: (wire: number) => this.#parted(wire),
      onWake: () => this.#reconcile(),
    }
  }

  #report(report: table.Report): void {
    parentPort!.postMessage(report)
  }

  /** Makes the wires what the table wants. */
  #reconcile(): void {
    const { room, wanted } = this.#shared
    for (let wire = 0; wire < room; wire++) {
      const generation = Atomics.load(wanted, wire * table.WANTED_WORDS + table.GENERATION)
      if (generation === this.#done[wire] || this.#parting.has(wire)) continue
      if ((this.#done[wire]! & 1) === 1) {
        this.#parting.add(wire)
        this.#wires.part(wire)
      } else this.#adopt(wire, generation)
    }
  }

  #adopt(wire: number, generation: number): void {
    const { wanted } = this.#shared
    const at = wire * table.WANTED_WORDS
    if ((generation & 1) === 1) this.#wires.join(wire, wanted[at + table.POD]!, wanted[at + table.HOST]!)
    this.#done[wire] = generation
    this.#report({ wire, generation })
  }

  #parted(wire: number): void {
    this.#parting.delete(wire)
    this.#adopt(wire, Atomics.load(this.#shared.wanted, wire * table.WANTED_WORDS + table.GENERATION))
  }

  /**
   * The memory is kept for the next wire of the same number, and for a thread that replaces this
   * one.
   */
  #memory(wire: number): { address: number; rings: Int32Array } {
    const { memory } = this.#shared
    if (memory[wire] === 0) memory[wire] = mmap(0, WIRE_MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    const address = memory[wire]!
    const rings = this.#rings.get(wire) ?? new Int32Array(view(address, BUFFERS_AT))
    this.#rings.set(wire, rings)
    return { address, rings }
  }

  /**
   * Nothing is queued, so no buffer holds a packet: their pages are given back to the kernel, and
   * come again, zeroed, with the next packet.
   */
  #trim(): void {
    const { control, memory } = this.#shared
    control[table.TRIM] = 0
    for (const address of memory) if (address !== 0) madvise(address + BUFFERS_AT, WIRE_MEMORY - BUFFERS_AT, MADV_DONTNEED)
  }
}
