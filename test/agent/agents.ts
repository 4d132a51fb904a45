/**
 * What the tests of the agent share: agents as processes of their own, asked by the client that the
 * plugin has.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { ask, noAgent } from '../../src/agent/client.ts'
import { type AgentStatus, lockPath } from '../../src/agent/protocol.ts'
import { lockHolder } from '../../src/linux/lock.ts'
import { eventually, type Lab } from '../support.ts'

export interface Ended {
  status: number | null
  stderr: string
}

/** `tunlink agent` on the node of the lab, with whatever it says at its end. */
export function runAgent(lab: Lab, ...options: string[]): { child: ChildProcess; ended: Promise<Ended> } {
  const child = spawn('ip', ['netns', 'exec', lab.node, lab.executable, 'agent', '--data-dir', lab.dataDir, ...options], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { PATH: `${dirname(process.execPath)}:${process.env.PATH}` },
  })
  let stderr = ''
  child.stderr!.setEncoding('utf8').on('data', (text: string) => (stderr += text))
  return { child, ended: new Promise(done => child.on('close', status => done({ status, stderr }))) }
}

/** The same, once it serves; its process ID. */
export async function startAgent(lab: Lab, ...options: string[]): Promise<number> {
  const before = holder(lab)
  runAgent(lab, ...options)
  await eventually('another agent has the lock', () => ![undefined, before].includes(holder(lab)))
  for (const until = Date.now() + 10_000; ; await new Promise(done => setTimeout(done, 50))) {
    try {
      return (await status(lab)).pid
    } catch (error) {
      if (!noAgent(error) || Date.now() > until) throw error
    }
  }
}

export const status = (lab: Lab): Promise<AgentStatus> => ask(lab.dataDir, { op: 'status' }, 5_000)

/** The process that has the lock. */
export const holder = (lab: Lab): number | undefined => lockHolder(lockPath(lab.dataDir))

/** True while the process runs: one that has ended and that nobody has waited for does not. */
export function alive(pid: number): boolean {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}
