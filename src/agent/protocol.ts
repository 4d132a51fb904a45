/** Agent protocol: one JSON line per request and per answer, over the unix socket `<dataDir>/agent.sock` (mode 0600). */
import type { Attachment, LinkPlan } from '../link/plan.ts'

/**
 * `started` is when the plugin began, in ms since the epoch. `renew` asks an agent to start its successor if the file that it was started
 * from has been replaced.
 */
export type Request =
  | { op: 'apply'; plan: LinkPlan; started: number }
  | { op: 'remove'; attachment: Attachment; started: number }
  | { op: 'del'; attachment: Attachment; lease: boolean; started: number }
  | { op: 'status' }
  | { op: 'list' }
  | { op: 'stats' }
  | { op: 'handover'; socket: string }
  | { op: 'renew' }

/** `error` is a CNI error object: code, msg, details. */
export type Answer = { ok: true; [key: string]: unknown } | { ok: false; error: { code: number; msg: string; details?: string } }

/** What an agent hands over to the next, with descriptors: a wire, the pod's end first; or nothing, with the lock. */
export interface Handed {
  wire?: HandedWire
}

export interface HandedWire {
  link: string
  netns: string
}

export const socketPath = (dataDir: string) => `${dataDir}/agent.sock`
export const handoverPath = (dataDir: string) => `${dataDir}/handover.sock`
export const logPath = (dataDir: string) => `${dataDir}/agent.log`
export const startLockPath = (dataDir: string) => `${dataDir}/agent-start.lock`
export const lockPath = (dataDir: string) => `${dataDir}/agent.lock`
