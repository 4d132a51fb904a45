/**
 * The agent's protocol: one JSON line for each request and each answer, over the unix socket
 * `<dataDir>/agent.sock` (mode 0600). Both carry `protocol`, so that neither side misreads another
 * version: the agent of 0.1.0 answers `{ok: true}` to every request that it does not know.
 */
import type { Environment } from '../cni/environment.ts'
import type { Attachment } from '../link/plan.ts'
import type { Counters, Wire, WireKind } from '../wire/wire.ts'
import type { Verbs } from './stats.ts'

export const PROTOCOL = 2

export const VERSION = process.env.TUNLINK_VERSION ?? 'from source'

/**
 * The process that sends the request: it holds the pod's network namespace open, and
 * /proc/PID/fd/FD leads there from any mount namespace.
 */
export interface Caller {
  pid: number
  netnsFd: number
  /**
   * Device and inode of that descriptor: a process with the same number in another PID namespace
   * has another.
   */
  ino: number
}

/** The requests. `started` is when the plugin began, in ms since the epoch. */
export interface Requests {
  /** The verb ADD. */
  add: { environment: Environment; stdin: string; caller: Caller; started: number }
  /** Removes a link; with `lease` also its addresses of the built-in IPAM and its record. */
  del: { attachment: Attachment; lease: boolean; caller?: Caller; started: number }
  /** Takes up a link that the plugin has made itself. */
  open: { attachment: Attachment }
  status: object
  list: object
  stats: object
  /** Renews the agent with the executable that is installed now, if that is another one. */
  renew: object
  /**
   * Ends the agent, after the requests under way are answered: for callers that cannot see its
   * process, see end.ts.
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
  /** The wire that a new link gets. */
  wire: WireKind
  /**
   * What this kernel lacks or refuses, in its own words: the kernel wire, io_uring for thread
   * wires, UDP segmentation offload (it makes datagrams cheaper), the parts of nf_tables that
   * tunlink uses.
   */
  refusals: { kernel?: string; io_uring?: string; uso?: string; firewall?: string }
  /** How thread wires are carried. */
  threadMode: 'io_uring' | 'epoll'
  /** Threads of thread wires: those that run, and those under SCHED_RR. */
  threads: { running: number; realtime: number }
  /**
   * Links on record whose far end is the node; TUNs that are held open for them; thread wires that
   * are not open, or have no thread.
   */
  links: number
  held: number
  unserved: number
  /** True when the executable's file has been replaced. */
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
  /** True when its TUN is held; with a thread wire, when a thread carries it or is about to. */
  isOpen: boolean
  podToHost?: Counters
  hostToPod?: Counters
}

export const socketPath = (dataDir: string) => `${dataDir}/agent.sock`
export const logPath = (dataDir: string) => `${dataDir}/agent.log`
/** Whoever locks this file is the agent; the file has its process ID. */
export const lockPath = (dataDir: string) => `${dataDir}/agent.lock`
