/** `tunlink agent`: serves the socket, keeps the wires, ends on SIGTERM or when idle. The links stay: their devices persist. */
import { closeSync, mkdirSync, rmSync, statSync, watch } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { toErrorJson } from '../cni/error.ts'
import { release } from '../ipam/lease.ts'
import { kernelError } from '../link/errors.ts'
import { openLock, tryLock } from '../linux/lock.ts'
import { listenForFds, receiveFds } from '../linux/pass-fds.ts'
import type { Ends, WiresOptions } from '../wire/threads/wires.ts'
import { Agent } from './agent.ts'
import { ask, noAgent } from './client.ts'
import { log } from './log.ts'
import { type Answer, type Handed, type HandedWire, handoverPath, lockPath, type Request, socketPath, startLockPath } from './protocol.ts'
import { startAgent } from './spawn.ts'
import { Stats } from './stats.ts'

const SWEEP_MS = 5_000
/** How long a stand-in waits for the successor that it has asked for before it asks for another. */
const SUCCESSOR_MS = 60_000
const RETRY_MS = 20

export interface AgentOptions {
  dataDir: string
  /** See Wires. */
  wires: Omit<WiresOptions, 'onGone'>
  /** Seconds without a link after which the agent ends; 0: never. */
  idleSeconds: number
  /** Take the place of an agent that runs, with its wires. */
  replace: boolean
  /** Ask the plugin for a successor: this process ends with the container that it is in, and then nobody passes packets. */
  standIn: boolean
}

/**
 * Resolves with true when the agent serves, with false when another one does. One starts at a time: what two of them did to each other's
 * sockets could leave none that serves.
 */
export async function runAgent(options: AgentOptions): Promise<boolean> {
  mkdirSync(options.dataDir, { recursive: true, mode: 0o700 })
  const starting = openLock(startLockPath(options.dataDir))
  try {
    while (!tryLock(starting)) await sleep(RETRY_MS)
    return await start(options)
  } finally {
    closeSync(starting)
  }
}

async function start(options: AgentOptions): Promise<boolean> {
  if (options.standIn && (await needsNoStandIn(options.dataDir))) return false
  const agent = new Agent(options.dataDir, options.wires)
  const handed = options.replace ? await takeOver(options.dataDir) : undefined
  if (handed !== undefined) agent.adopt(handed.wires)
  const lock = handed?.lock ?? (await takeLock(options.dataDir))
  if (lock === undefined) {
    await agent.close()
    return false
  }
  await agent.reconcile()
  const serving: Serving = {
    options,
    agent,
    stats: new Stats(),
    lock,
    lastRequest: Date.now(),
    askedForSuccessor: 0,
    changes: new Set(),
    close,
    stop,
  }
  const server = await listen(options.dataDir, socket => serve(socket, serving))
  const watchers = watchNamespaces(agent)
  const idleMs = options.idleSeconds * 1000
  const timer = setInterval(
    () => {
      void agent.sweep()
      agent.trim()
      if (idleMs === 0 || Date.now() - serving.lastRequest < idleMs) return
      if (agent.hasLinks) serving.lastRequest = Date.now()
      else void stop('idle')
    },
    Math.min(SWEEP_MS, idleMs || SWEEP_MS),
  )
  let closed: Promise<void> | undefined
  /** Closing removes the socket's file: from then on who asks finds no agent. Resolves when the requests under way have been answered. */
  function close(): Promise<void> {
    closed ??= new Promise(resolve => server.close(() => resolve()))
    return closed
  }
  async function stop(reason: string): Promise<void> {
    log('agent ends', { reason })
    clearInterval(timer)
    for (const watcher of watchers) watcher.close()
    await close()
    await agent.close()
    closeSync(lock!)
    process.exit(0)
  }
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => void stop(signal))
  log('agent serves', { dataDir: options.dataDir, ...agent.status() })
  return true
}

interface Serving {
  options: AgentOptions
  agent: Agent
  stats: Stats
  /** Descriptor of the lock file. */
  lock: number
  /** ms since the epoch. */
  lastRequest: number
  askedForSuccessor: number
  /** ADDs and DELs under way. */
  changes: Set<Promise<unknown>>
  handingOver?: boolean
  close(): Promise<void>
  stop(reason: string): Promise<void>
}

/** True when an agent that is none itself serves. */
async function needsNoStandIn(dataDir: string): Promise<boolean> {
  try {
    return (await ask(dataDir, { op: 'status' })).standIn === false
  } catch (error) {
    if (!noAgent(error)) throw error
    return false
  }
}

/** Wires of the agent that runs, which ends, and its lock unless it ended too early; undefined when none runs. */
async function takeOver(dataDir: string): Promise<{ lock: number | undefined; wires: (HandedWire & Ends)[] } | undefined> {
  const path = handoverPath(dataDir)
  rmSync(path, { force: true })
  const listening = listenForFds(path)
  try {
    await ask(dataDir, { op: 'handover', socket: path }) // answered when it has connected, so that nothing below waits for long
    const messages = [...receiveFds(listening)].map(({ text, fds }) => ({ ...(JSON.parse(text) as Handed), fds }))
    const lock = messages.find(({ wire }) => wire === undefined)?.fds[0]
    return { lock, wires: messages.flatMap(({ wire, fds }) => (wire ? [{ ...wire, podFd: fds[0]!, hostFd: fds[1]! }] : [])) }
  } catch (error) {
    if (!noAgent(error)) throw error
    return undefined
  } finally {
    closeSync(listening)
    rmSync(path, { force: true })
  }
}

/** The wires go when the answer has gone, which says that they come. From here on this agent changes nothing: what it did would be lost. */
async function handOver({ agent, lock, changes, close, stop }: Serving, socket: string): Promise<void> {
  void close() // now, as it would remove the next one's socket later
  await Promise.allSettled(changes)
  let give = () => {}
  try {
    give = await agent.handOver(socket, lock)
  } finally {
    setImmediate(() => {
      try {
        give()
      } catch (error) {
        log('wires not handed over', { error: (error as Error).message })
      }
      void stop('handed over')
    })
  }
}

/** The kernel drops the lock with its holder, however it ends. One that is about to end is waited for; one that answers is left alone. */
async function takeLock(dataDir: string): Promise<number | undefined> {
  const lock = openLock(lockPath(dataDir))
  for (;;) {
    if (tryLock(lock)) return lock
    try {
      await ask(dataDir, { op: 'status' })
      closeSync(lock)
      return undefined
    } catch (error) {
      if (!noAgent(error)) throw error
    }
    await sleep(RETRY_MS)
  }
}

/** Holding the lock, any socket file that is there belongs to a dead agent. */
function listen(dataDir: string, serve: (socket: Socket) => void): Promise<Server> {
  rmSync(socketPath(dataDir), { force: true })
  const server = createServer(serve)
  return new Promise((resolve, reject) => {
    const umask = process.umask(0o177)
    server.on('error', reject)
    server.listen(socketPath(dataDir), () => {
      process.umask(umask)
      resolve(server)
    })
  })
}

function serve(socket: Socket, serving: Serving): void {
  serving.lastRequest = Date.now()
  let received = ''
  socket.setEncoding('utf8')
  socket.on('error', () => socket.destroy())
  socket.on('data', async (chunk: string) => {
    received += chunk
    for (let end = received.indexOf('\n'); end >= 0; end = received.indexOf('\n')) {
      const line = received.slice(0, end)
      received = received.slice(end + 1)
      const answer = await respond(serving, line)
      if (answer === undefined) socket.destroy()
      else if (!socket.destroyed) socket.write(`${JSON.stringify(answer)}\n`)
    }
  })
}

/** Undefined from one that hands over: who asked takes that for an agent that has ended, and asks the next. */
async function respond(serving: Serving, line: string): Promise<Answer | undefined> {
  if (serving.handingOver) return undefined
  try {
    return { ok: true, ...(await perform(serving, JSON.parse(line) as Request)) }
  } catch (error) {
    log('request failed', { error: (error as Error).message })
    const { code, msg, details } = toErrorJson(kernelError(error), '')
    return { ok: false, error: { code, msg, details } }
  }
}

async function perform(serving: Serving, request: Request): Promise<object> {
  const { agent, stats, options } = serving
  switch (request.op) {
    case 'apply': {
      const plan = await change(serving, 'ADD', request.started, () => agent.apply(request.plan))
      return { plan, ...(plan.host !== undefined && wantsSuccessor(serving) ? { successorWanted: true } : {}) }
    }
    case 'remove':
      await change(serving, 'DEL', request.started, () => agent.remove(request.attachment))
      return {}
    case 'del':
      await change(serving, 'DEL', request.started, () => agent.remove(request.attachment))
      if (request.lease) release(options.dataDir, request.attachment.network, request.attachment)
      return {}
    case 'status':
      return { ...agent.status(), standIn: options.standIn, outdated: isOutdated() }
    case 'list':
      return { links: agent.list() }
    case 'stats':
      return { verbs: stats }
    case 'handover':
      serving.handingOver = true
      await handOver(serving, request.socket)
      return {}
    case 'renew':
      if (isOutdated()) await startAgent(options.dataDir, options.idleSeconds, '--replace', ...wireOptions(options.wires))
      return {}
  }
}

function wantsSuccessor(serving: Serving): boolean {
  if (!serving.options.standIn || Date.now() - serving.askedForSuccessor < SUCCESSOR_MS) return false
  serving.askedForSuccessor = Date.now()
  return true
}

const wireOptions = ({ mode, spin }: AgentOptions['wires']) => [
  ...(mode === undefined ? [] : ['--wire', mode]),
  ...(spin === undefined ? [] : ['--spin', String(spin)]),
]

/** True when the file that this process was started from has been replaced. */
function isOutdated(): boolean {
  const own = statSync('/proc/self/exe')
  const installed = statSync(process.execPath, { throwIfNoEntry: false })
  return installed !== undefined && (installed.ino !== own.ino || installed.dev !== own.dev)
}

async function change<T>({ stats, changes }: Serving, verb: 'ADD' | 'DEL', started: number, body: () => Promise<T>): Promise<T> {
  const changing = body()
  changes.add(changing)
  try {
    const result = await changing
    stats.record(verb, started)
    return result
  } catch (error) {
    stats.record(verb, started, kernelError(error).code)
    throw error
  } finally {
    changes.delete(changing)
  }
}

/** Where runtimes bind their network namespaces. */
function watchNamespaces(agent: Agent) {
  try {
    return [watch('/run/netns', (event, name) => event === 'rename' && void agent.sweep(name ?? undefined))]
  } catch {
    return [] // no such directory yet: the sweep by time still sees what vanishes
  }
}
