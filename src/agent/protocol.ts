/** Agent protocol: one JSON line per request and per answer, over the unix socket `<dataDir>/agent.sock` (mode 0600). */
import { join } from 'node:path'
import type { Attachment, LinkPlan } from '../link/plan.ts'

export type Request = { op: 'apply'; plan: LinkPlan } | { op: 'remove'; attachment: Attachment } | { op: 'status' } | { op: 'list' }

/** `error` is a CNI error object: code, msg, details. */
export type Answer = { ok: true; [key: string]: unknown } | { ok: false; error: { code: number; msg: string; details?: string } }

export const socketPath = (dataDir: string) => join(dataDir, 'agent.sock')
export const logPath = (dataDir: string) => join(dataDir, 'agent.log')
export const lockPath = (dataDir: string) => join(dataDir, 'agent.lock')
