/** The agent: what its end and its renewal do to packets, and what it takes at rest. */
import { copyFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ask } from '../src/agent/client.ts'
import type { Wire } from '../src/wire/wire.ts'
import { EXECUTABLES, type Lab } from '../test/support.ts'
import { figure, type Label, type Row } from './measure.ts'
import { type Path, withPaths } from './paths.ts'
import { exec, toNode } from './traffic.ts'

/** Pings lost, of 1,000 a second, while something happens to the agent. */
export const loss = async (): Promise<Row[]> => [
  await lost('agent killed and gone', 'kernel', async lab => void process.kill(lab.agentPid()!, 'SIGKILL')),
  await lost('agent renewed', 'kernel', renew),
  await lost('agent renewed, thread wire', 'thread', renew),
]

async function lost(event: string, wire: Wire, happen: (lab: Lab) => Promise<void>): Promise<Row> {
  const home = mkdtempSync(join(tmpdir(), 'tunlink-bench-'))
  try {
    return await withPaths(async paths => {
      const executable = join(home, 'tunlink')
      copyFileSync(EXECUTABLES[0]![1], executable)
      const { lab, paths: links } = await paths.tunlink(10, { wire, executable })
      const pinging = ping(links[0]!, 3000)
      await sleep(1000)
      await happen(lab)
      const target = wire === 'kernel' ? { most: 0, goal: 0 } : undefined
      const label: Label = { bench: 'loss', what: `pings lost of 3,000 at 1,000/s, ${event}`, unit: '', ...(target && { target }) }
      return figure(label, await pinging)
    })
  } finally {
    rmSync(home, { recursive: true, force: true })
  }
}

/** How many of `count` pings, one a millisecond, got no answer. */
async function ping(path: Path, count: number): Promise<number> {
  const { from, address } = toNode(path)
  const printed = await exec(from, 'ping', '-q', '-i', '0.001', '-c', String(count), address)
  const [, sent, received] = printed.match(/(\d+) packets transmitted, (\d+) received/)!
  return Number(sent) - Number(received)
}

/**
 * As an upgrade does: puts a new file in the place of the executable, and asks the agent to become
 * it.
 */
async function renew({ executable, dataDir }: Lab): Promise<void> {
  copyFileSync(executable, `${executable}.new`)
  renameSync(`${executable}.new`, executable)
  const { renewed } = await ask(dataDir, { op: 'renew' })
  if (!renewed) throw new Error('the agent did not renew itself')
}

const LINKS = 250
const SETTLE_MS = 15_000 // memory of links at rest has been given back
const WATCH_SECONDS = 125 // longer than from one sweep of the agent to the next

/**
 * Links at rest that have carried traffic: how often the agent's threads wake, and what memory it
 * takes.
 */
export const idle = (): Promise<Row[]> =>
  withPaths(async paths => {
    const { lab, paths: links } = await paths.tunlink(LINKS)
    for (const link of links) await exec(link.pod, 'ping', '-q', '-c', '1', link.nodeAddress)
    await sleep(SETTLE_MS)
    const pid = lab.agentPid()!
    const before = { switches: switches(pid), ticks: cpuTicks(pid) }
    await sleep(WATCH_SECONDS * 1000)
    const wakeUps = [...switches(pid)].reduce((sum, [task, count]) => sum + count - (before.switches.get(task) ?? 0), 0)
    const memory = Number(readFileSync(`/proc/${pid}/status`, 'utf8').match(/VmRSS:\s+(\d+)/)![1]) / 1024
    const label = (what: string, unit: string): Label => ({ bench: 'idle', what: `agent with ${LINKS} links: ${what}`, unit })
    return [
      figure({ ...label('wake-ups', '/s'), target: { most: 0.3, goal: 0.1 } }, wakeUps / WATCH_SECONDS),
      figure(label('CPU', '% of 1'), (cpuTicks(pid) - before.ticks) / WATCH_SECONDS),
      figure({ ...label('memory', 'MB'), target: { most: 65, goal: 50 } }, memory),
    ]
  })

/** How often each thread of a process went to sleep: as often it woke. */
function switches(pid: number): Map<string, number> {
  const ofTask = (task: string) => {
    const status = `/proc/${pid}/task/${task}/status`
    return existsSync(status) ? Number(readFileSync(status, 'utf8').match(/^voluntary_ctxt_switches:\s+(\d+)/m)![1]) : 0
  }
  return new Map(readdirSync(`/proc/${pid}/task`).map(task => [task, ofTask(task)]))
}

/** Hundredths of a second: utime and stime of proc_pid_stat(5), whose command has no space here. */
const cpuTicks = (pid: number): number =>
  readFileSync(`/proc/${pid}/stat`, 'utf8')
    .split(' ')
    .slice(13, 15)
    .map(Number)
    .reduce((sum, ticks) => sum + ticks)
