/** `tunlink agent`: serves the socket, keeps the wires, ends on SIGTERM or when idle. The links stay: their devices persist. */
import { closeSync, mkdirSync, openSync, rmSync, watch } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { toErrorJson } from '../cni/error.ts'
import { kernelError } from '../link/errors.ts'
import { flock } from '../linux/libc.ts'
import { LOCK_EX, LOCK_NB } from '../linux/uapi.ts'
import { Agent } from './agent.ts'
import { ask, noAgent } from './client.ts'
import { log } from './log.ts'
import { type Answer, lockPath, type Request, socketPath } from './protocol.ts'

const SWEEP_MS = 5_000

export interface AgentOptions {
  dataDir: string
  workerEntry: string | URL
  /** Seconds without a link after which the agent ends; 0: never. */
  idleSeconds: number
}

/** Resolves with true when the agent serves, with false when another one does. */
export async function runAgent(options: AgentOptions): Promise<boolean> {
  mkdirSync(options.dataDir, { recursive: true, mode: 0o700 })
  const lock = await takeLock(options.dataDir)
  if (lock === undefined) return false
  const agent = new Agent(options.dataDir, options.workerEntry)
  await agent.reconcile()
  let idleSince = Date.now()
  const server = await listen(options.dataDir, socket => {
    idleSince = Date.now()
    serve(socket, agent)
  })
  const watchers = watchNamespaces(agent)
  const timer = setInterval(
    () => {
      void agent.sweep()
      if (agent.links > 0) idleSince = Date.now()
      else if (options.idleSeconds > 0 && Date.now() - idleSince >= options.idleSeconds * 1000) void stop('idle')
    },
    Math.min(SWEEP_MS, Math.max(options.idleSeconds, 1) * 1000),
  )
  const stop = async (reason: string) => {
    log('agent ends', { reason })
    clearInterval(timer)
    for (const watcher of watchers) watcher.close()
    rmSync(socketPath(options.dataDir), { force: true })
    await new Promise(resolve => server.close(resolve)) // requests under way are answered first
    await agent.close()
    closeSync(lock)
    process.exit(0)
  }
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => void stop(signal))
  log('agent serves', { dataDir: options.dataDir, ...agent.status() })
  return true
}

/** The kernel drops the lock with its holder, however it ends. One that is about to end is waited for; one that answers is left alone. */
async function takeLock(dataDir: string): Promise<number | undefined> {
  const lock = openSync(lockPath(dataDir), 'a', 0o600)
  for (;;) {
    try {
      flock(lock, LOCK_EX | LOCK_NB)
      return lock
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
    }
    try {
      await ask(dataDir, { op: 'status' })
      closeSync(lock)
      return undefined
    } catch (error) {
      if (!noAgent(error)) throw error
    }
    await new Promise(resolve => setTimeout(resolve, 20))
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

function serve(socket: Socket, agent: Agent): void {
  let received = ''
  socket.setEncoding('utf8')
  socket.on('error', () => socket.destroy())
  socket.on('data', async (chunk: string) => {
    received += chunk
    for (let end = received.indexOf('\n'); end >= 0; end = received.indexOf('\n')) {
      const line = received.slice(0, end)
      received = received.slice(end + 1)
      const answer = await respond(agent, line)
      if (!socket.destroyed) socket.write(`${JSON.stringify(answer)}\n`)
    }
  })
}

async function respond(agent: Agent, line: string): Promise<Answer> {
  try {
    const request = JSON.parse(line) as Request
    switch (request.op) {
      case 'apply':
        return { ok: true, plan: await agent.apply(request.plan) }
      case 'remove':
        await agent.remove(request.attachment)
        return { ok: true }
      case 'status':
        return { ok: true, ...agent.status() }
      case 'list':
        return { ok: true, links: agent.list() }
    }
  } catch (error) {
    log('request failed', { error: (error as Error).message })
    const { code, msg, details } = toErrorJson(kernelError(error), '')
    return { ok: false, error: { code, msg, details } }
  }
}

/** Where runtimes bind their network namespaces. */
function watchNamespaces(agent: Agent) {
  try {
    return [watch('/run/netns', event => event === 'rename' && void agent.sweep())]
  } catch {
    return [] // no such directory yet: the sweep by time still sees what vanishes
  }
}
