/**
 * The table of wires that the main thread shares with a wire's thread. The main thread writes what
 * is wanted, and wakes the thread by its eventfd (the thread sits in a system call, and would not
 * see a message). The thread carries it out, answers by a message, and counts. A thread that
 * replaces a dead one finds here everything that it needs.
 */

/** The first argument of a wire's thread. */
export const WIRE_THREAD = 'wire-thread'

/**
 * Ends of a wire. A packet belongs to the direction named by the end it was read from: direction =
 * 2 * wire + end.
 */
export const POD = 0
export const HOST = 1

/**
 * Words of `wanted` for each wire: the two descriptors by end, and how often the wire was joined or
 * parted (odd: joined).
 */
export const WANTED_WORDS = 3
export const GENERATION = 2

/**
 * Fields of `counters` for each direction: packets and bytes read from the end; packets of those
 * that the other end did not take.
 */
export const COUNTER_FIELDS = 3
export const PACKETS = 0
export const BYTES = 1
export const DROPS = 2

/** Words of `control`. */
export const STOP = 0
/** Set by the main thread: give back the memory of idle wires. */
export const TRIM = 1
/**
 * Descriptor of the thread's ring, so that it can be closed when the thread has died; -1 for none.
 */
export const RING_FD = 2
/** 1 while the thread runs under SCHED_RR. */
export const REALTIME = 3

export type Mode = 'io_uring' | 'epoll'

export interface Shared {
  mode: Mode
  /** Room for so many wires. */
  room: number
  /**
   * Microseconds: after its last packet the thread looks for more for this long before it sleeps.
   */
  spin: number
  wakeFd: number
  control: Int32Array
  wanted: Int32Array
  counters: Float64Array
  /** Address of the packet memory of each wire; 0 before its first use. */
  memory: Float64Array
}

/**
 * Messages of a wire's thread to the main thread: the wire is as of `generation`; a device of the
 * wire is gone.
 */
export type Report = { wire: number; generation: number } | { wire: number; gone: true }

export function createShared({ mode, room, spin, wakeFd }: Pick<Shared, 'mode' | 'room' | 'spin' | 'wakeFd'>): Shared {
  const words = (count: number) => new Int32Array(new SharedArrayBuffer(4 * count))
  const doubles = (count: number) => new Float64Array(new SharedArrayBuffer(8 * count))
  const control = words(4)
  control[RING_FD] = -1
  return {
    mode,
    room,
    spin,
    wakeFd,
    control,
    wanted: words(room * WANTED_WORDS),
    counters: doubles(room * 2 * COUNTER_FIELDS),
    memory: doubles(room),
  }
}
