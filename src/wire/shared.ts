/**
 * What the main thread and the wire's thread share. The set of descriptors is the kernel's (an epoll instance belongs to the process,
 * not to a thread); who is joined to whom, and the counters, lie in shared memory, indexed by descriptor.
 */

/** Descriptors above this are refused: far more than a process may open by default. */
export const MAX_FDS = 65536

/** Indexes into `control`. */
export const ROUND = 0
export const STOP = 1

export interface Shared {
  epollFd: number
  /** Wakes the thread out of epoll_wait. */
  wakeFd: number
  /** [ROUND]: turns of the loop so far; [STOP]: 1 to end it. */
  control: Int32Array
  /** peer[fd]: the descriptor that gets what is read from fd; 0 for none. */
  peer: Int32Array
  /** Read from fd: packets at [3 fd], bytes at [3 fd + 1], dropped packets at [3 fd + 2]. One writer: the wire's thread. */
  counters: Float64Array
}

/** What the wire's thread says to the main thread. */
export interface Gone {
  fd: number
}

export function createShared(epollFd: number, wakeFd: number): Shared {
  return {
    epollFd,
    wakeFd,
    control: new Int32Array(new SharedArrayBuffer(8)),
    peer: new Int32Array(new SharedArrayBuffer(4 * MAX_FDS)),
    counters: new Float64Array(new SharedArrayBuffer(3 * 8 * MAX_FDS)),
  }
}
