/**
 * Agent protocol: one JSON line per request and per answer, over the unix socket `<dataDir>/agent.sock` (mode 0600). Both carry `protocol`, so that
 * neither side takes for an answer what another version means by it: the agent of 0.1.0 answers `{ok: true}` to whatever it does not know.
 */
import type { Attachment, LinkPlan } from '../link/plan.ts'
import type { Counters } from '../wire/threads/wires.ts'
import type { Stats } from './stats.ts'

export const PROTOCOL = 2

export const VERSION = process.env.TUNLINK_VERSION ?? 'from source'

/** `started` is when the plugin began, in ms since the epoch. */
export type Request =
  | { op: 'apply'; plan: LinkPlan; started: number }
  | { op: 'remove'; attachment: Attachment; started: number }
  /** Is answered with `renewed: false` when the executable is the one that runs. */
  | { op: 'renew' }
  | { op: 'status' }
  | { op: 'list' }
  | { op: 'stats' }

/** What each request is answered with. */
export interface Answers {
  apply: { plan: LinkPlan }
  remove: Record<string, never>
  renew: { renewed: boolean }
  status: Status
  list: { links: ListedLink[] }
  stats: { verbs: ReturnType<Stats['toJSON']> }
}

export interface Status {
  pid: number
  version: string
  /** How packets are carried. */
  wire: 'kernel' | 'io_uring' | 'epoll'
  /** Why not better, by what was tried. */
  refusals: { kernel?: string; io_uring?: string }
  /** Of thread wires: how many run, how many of them under SCHED_RR. */
  threads: { running: number; realtime: number }
  links: number
  /** TUN devices of kernel wires that are held open. */
  held: number
  /** The file of the executable has been replaced since the agent was started from it. */
  outdated: boolean
}

export interface ListedLink extends Attachment {
  /** Name of the node's end. */
  link: string
  netns: string
  wire: 'kernel' | 'thread'
  podToHost?: Counters
  hostToPod?: Counters
}

export type Answer<T = object> =
  | ({ protocol: typeof PROTOCOL; ok: true } & T)
  /** `error` is a CNI error object. */
  | { protocol: typeof PROTOCOL; ok: false; error: { code: number; msg: string; details?: string } }

export const socketPath = (dataDir: string) => `${dataDir}/agent.sock`
export const logPath = (dataDir: string) => `${dataDir}/agent.log`
/** Its holder is the agent; the file has the agent's process ID. */
export const lockPath = (dataDir: string) => `${dataDir}/agent.lock`
