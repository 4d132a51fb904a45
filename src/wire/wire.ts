/** What carries a link's packets between the pod's TUN and the node. */

/**
 * `kernel`: two BPF programs and a veth pair, see kernel.ts. `thread`: a thread of the agent that
 * copies them, see threads/.
 */
export type Wire = 'kernel' | 'thread'

/** How packets are carried: a thread wire has two ways. */
export type WireKind = 'kernel' | 'io_uring' | 'epoll'

/** One direction of a link. */
export interface Counters {
  packets: number
  bytes: number
  drops: number
}
