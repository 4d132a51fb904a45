/**
 * `tunlink agent`: from the lock to the end. Whoever holds the lock is the agent; only the holder
 * makes or removes the socket's file. When the agent ends, the socket goes first and the lock last,
 * so that the next one never meets a socket that is about to go.
 */
import { closeSync, rmSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { openDataDir } from '../link/data-dir.ts'
import { leaveCgroup } from '../linux/cgroup.ts'
import { isLocked, lockHolder, openLock, tryLock, writeHolder } from '../linux/lock.ts'
import { listenUnix } from '../linux/unix-socket.ts'
import { Agent } from './agent.ts'
import { agentHangs, agentIsForeign, ask, noAgent } from './client.ts'
import { endAgent, killHolder } from './end.ts'
import { log } from './log.ts'
import { lockPath, socketPath } from './protocol.ts'
import { type Inherited, inherit } from './renew.ts'
import { Service, type ServiceOptions } from './service.ts'

/** An agent that has not said its status by then hangs. */
const PROBE_MS = 2_000
/** Between lock and socket an agent takes up its links again. */
const START_MS = 10_000
const RETRY_MS = 20
/** Connections that wait to be accepted; the kernel takes net.core.somaxconn when that is less. */
const BACKLOG = 1024

export interface AgentOptions extends ServiceOptions {
  /** See leaveCgroup(). */
  leaveCgroup: boolean
  /** See Agent. */
  wires: ConstructorParameters<typeof Agent>[1]
}

/**
 * Resolves with true when this process serves, with false when another agent does. Takes the place
 * of an agent that hangs or is of another version, and of this process's former self: see renew.ts.
 * Throws when an agent that hangs cannot be ended.
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
  // The socket is there before the records are read: a plugin that finds none has written its
  // record by then.
  const listening = inherited?.listening ?? bindSocket(options.dataDir)
  const agent = new Agent(options.dataDir, options.wires)
  if (inherited !== undefined) agent.adopt(inherited.kept)
  await agent.reconcile()
  const service = new Service(options, { agent, lock, listening })
  await service.start()
  log(inherited === undefined ? 'agent serves' : 'agent serves, renewed', { dataDir: options.dataDir, ...agent.status() })
}

/** Holding the lock, any socket file that is there belongs to a dead agent. */
function bindSocket(dataDir: string): number {
  rmSync(socketPath(dataDir), { force: true })
  return listenUnix(socketPath(dataDir), BACKLOG)
}

/** The lock's descriptor; undefined when the agent that has it answers. */
async function takeLock(dataDir: string): Promise<number | undefined> {
  const path = lockPath(dataDir)
  const lock = openLock(path)
  const startedMs = Date.now()
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
    } else if (state === 'hangs' || Date.now() - startedMs > START_MS) {
      if (lockHolder(path) !== holder) continue // another one has taken over meanwhile
      log('agent does not answer, killed', { pid: holder })
      if (holder !== undefined || isLocked(lock)) await killHolder(path, lock, holder)
    } else await sleep(RETRY_MS)
  }
  writeHolder(lock)
  return lock
}

/** `absent`: about to serve, or about to end. */
async function probe(dataDir: string): Promise<'serves' | 'hangs' | 'foreign' | 'absent'> {
  try {
    await ask(dataDir, { op: 'status' }, PROBE_MS)
    return 'serves'
  } catch (error) {
    if (noAgent(error)) return 'absent'
    if (agentHangs(error)) return 'hangs'
    if (agentIsForeign(error)) return 'foreign'
    return 'serves' // it answers, though with an error
  }
}
