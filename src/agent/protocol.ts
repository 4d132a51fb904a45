/**
 * Agent protocol: one JSON line per request and per answer, over the unix socket
 * `<dataDir>/agent.sock` (mode 0600). Both carry `protocol`, so that neither side takes for an
 * answer what another version means by it: the agent of 0.1.0 answers `{ok: true}` to whatever it
 * does not know.
 */
import type { Environment } from '../cni/environment.ts'
import type { Attachment } from '../link/plan.ts'
import type { Counters, Wire, WireKind } from '../wire/wire.ts'
import type { Verbs } from './stats.ts'

export const PROTOCOL = 2

export const VERSION = process.env.TUNLINK_VERSION ?? 'from source'

/**
 * The process that asks: it holds the pod's network namespace open, and /proc/PID/fd/FD leads to it
 * whatever mount namespace it is in.
 */
export interface Caller {
  pid: number
  netnsFd: number
  /**
   * What that descriptor is, so that another process with the same number in another PID namespace
   * is not taken for it.
   */
  ino: number
}

/** What may be asked. `started` is when the plugin began, in ms since the epoch. */
export interface Requests {
  /** The verb ADD. */
  add: { environment: Environment; stdin: string; caller: Caller; started: number }
  /** Removes a link; with `lease` also its addresses of the built-in IPAM, and its record. */
  del: { attachment: Attachment; lease: boolean; caller?: Caller; started: number }
  /** Take up a link that the plugin has made itself. */
  open: { attachment: Attachment }
  status: object
  list: object
  stats: object
  /** Become the executable that is installed now, if it is another one. */
  renew: object
  /**
   * End, once the requests under way are answered: for who cannot see the agent's process, see
   * end.ts.
   */
  end: object
}

export interface Answers {
  /** `result` is the CNI result to print, `warnings` are sentences for standard error. */
  add: { result: string; warnings: string[] }
  del: object
  open: object
  status: AgentStatus
  list: { links: ListedLink[] }
  stats: { verbs: Verbs }
  renew: { renewed: boolean }
  end: object
}

export type Op = keyof Requests
export type Request<O extends Op = Op> = { [K in O]: { op: K } & Requests[K] }[O]

export type Answer<T = object> =
  | ({ protocol: typeof PROTOCOL; ok: true } & T)
  /**
   * `error` is a CNI error object. `unseen`: the agent cannot reach the caller's namespace; the
   * caller is to do it itself.
   */
  | { protocol: typeof PROTOCOL; ok: false; unseen?: true; error: { code: number; msg: string; details?: string } }

export interface AgentStatus {
  pid: number
  version: string
  /** What a new link gets. */
  wire: WireKind
  /**
   * What this kernel lacks or refuses, in its words: the kernel wire, io_uring for thread wires,
   * UDP's segmentation offload (whole datagrams cost less), nf_tables with all that tunlink uses.
   */
  refusals: { kernel?: string; io_uring?: string; uso?: string; firewall?: string }
  /** How thread wires do it. */
  threadMode: 'io_uring' | 'epoll'
  /** Of thread wires: running, and those under SCHED_RR. */
  threads: { running: number; realtime: number }
  /**
   * Links on record whose far end is the node; how many TUNs are held open for them; thread wires
   * that are not open, or whose thread cannot be had.
   */
  links: number
  held: number
  unserved: number
  /** The file of the executable has been replaced. */
  outdated: boolean
}

/**
 * One link whose far end is the node. Counters are those of the node's end; absent when that is
 * missing.
 */
export interface ListedLink extends Attachment {
  /** Name of the node's end. */
  link: string
  netns: string
  wire: Wire
  /** Its TUN is held, or its thread wire joined. */
  isOpen: boolean
  podToHost?: Counters
  hostToPod?: Counters
}

export const socketPath = (dataDir: string) => `${dataDir}/agent.sock`
export const logPath = (dataDir: string) => `${dataDir}/agent.log`
/** Its holder is the agent; the file has the agent's process ID. */
export const lockPath = (dataDir: string) => `${dataDir}/agent.lock`
