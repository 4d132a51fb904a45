/**
 * `tunlink agent`, from the lock to the end. The process that holds the lock is the agent, and only
 * it makes or removes the socket's file. When the agent ends, it removes the socket first and
 * releases the lock last: so the next agent never meets a socket that is about to go.
 */
import { closeSync, rmSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { openDataDir } from '../link/data-dir.ts'
import { leaveCgroup } from '../linux/cgroup.ts'
import { isLocked, lockHolder, openLock, tryLock, writeHolder } from '../linux/lock.ts'
import { listenUnix } from '../linux/unix-socket.ts'
import { Agent } from './agent.ts'
import { endAgent, killHolder } from './end.ts'
import { log } from './log.ts'
import { probe } from './probe.ts'
import { lockPath, socketPath } from './protocol.ts'
import { type Inherited, inherit } from './renew.ts'
import { Service, type ServiceOptions } from './service.ts'

/** Between lock and socket an agent takes up its links again, within this time. */
const START_MS = 10_000
const RETRY_MS = 20
/**
 * Connections that may wait to be accepted; the kernel takes net.core.somaxconn when that is less.
 */
const BACKLOG = 1024

export interface AgentOptions extends ServiceOptions {
  /** See leaveCgroup(). */
  leaveCgroup: boolean
  /** See Agent. */
  wires: ConstructorParameters<typeof Agent>[1]
}

/**
 * Resolves with true when this process serves, with false when another agent does. Replaces an
 * agent that hangs or is of another version, and takes over from this process's former program: see
 * renew.ts. Throws when an agent that hangs cannot be ended.
 */
export async function runAgent(options: AgentOptions): Promise<boolean> {
  const { dataDir } = options
  process.umask(0o077)
  // a log that cannot be written ends nothing
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {})
  openDataDir(dataDir)
  const inherited = inherit()
  if (options.leaveCgroup) for (const refusal of leaveCgroup()) log('cgroup not left', { refusal })
  const lock = inherited?.lock ?? (await takeLock(dataDir))
  if (lock === undefined) return false
  await serve(options, lock, inherited)
  return true
}

async function serve(options: AgentOptions, lock: number, inherited: Inherited | undefined): Promise<void> {
  // The socket exists before the records are read: a plugin that finds no socket has written its
  // record before.
  const listening = inherited?.listening ?? bindSocket(options.dataDir)
  const agent = new Agent(options.dataDir, options.wires)
  if (inherited !== undefined) agent.adopt(inherited.kept)
  await agent.reconcile()
  const service = new Service(options, { agent, lock, listening })
  await service.start()
  log(inherited === undefined ? 'agent serves' : 'agent serves, renewed', { dataDir: options.dataDir, ...agent.status() })
}

/** This process holds the lock, so an existing socket file belongs to a dead agent. */
function bindSocket(dataDir: string): number {
  rmSync(socketPath(dataDir), { force: true })
  return listenUnix(socketPath(dataDir), BACKLOG)
}

/** The lock's descriptor; undefined when the agent that holds it answers. */
async function takeLock(dataDir: string): Promise<number | undefined> {
  const path = lockPath(dataDir)
  const lock = openLock(path)
  const startedMs = performance.now()
  while (!tryLock(lock)) {
    const holder = lockHolder(path)
    const state = await probe(dataDir)
    if (state === 'serves') {
      closeSync(lock)
      return undefined
    }
    if (state === 'foreign') {
      log('agent of another version, ended', { pid: holder })
      await endAgent(dataDir)
    } else if (state === 'hangs' || performance.now() - startedMs > START_MS) {
      if (lockHolder(path) !== holder) continue // another agent has taken over meanwhile
      log('agent does not answer, killed', { pid: holder })
      if (holder !== undefined || isLocked(lock)) await killHolder(path, lock, holder)
    } else await sleep(RETRY_MS)
  }
  writeHolder(lock)
  return lock
}
