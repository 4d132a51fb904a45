/** The plugin's side of the agent's socket. */
import { lstatSync } from 'node:fs'
import { CniError, CODE, isErrorCode } from '../cni/error.ts'
import { show } from '../cni/must-be.ts'
import { type Answer, type Answers, PROTOCOL, type Request, socketPath } from './protocol.ts'

/** Longer than an ADD with a slow IPAM plugin takes; shorter than runtimes wait for a plugin. */
const DEADLINE_MS = 10_000
const RETRY_MS = 20
/**
 * An agent that renews itself closes connections of which it has read nothing: the request is sent
 * again. If that happens more often than this, the agent has a fault.
 */
const MOST_RESETS = 5

/**
 * An agent exists, but it does not answer in time, or it speaks another version of the protocol:
 * see `fault`.
 */
export class AgentError extends CniError {
  override name = 'AgentError'
  readonly fault: 'hangs' | 'foreign'
  constructor(fault: 'hangs' | 'foreign', message: string, details?: string) {
    super(CODE.tryAgainLater, message, details)
    this.fault = fault
  }
}

/**
 * True when `error` says that the agent did not answer in time: the request may have been carried
 * out, or may be carried out later.
 */
export const agentHangs = (error: unknown) => error instanceof AgentError && error.fault === 'hangs'

/**
 * True when `error` says that the agent is of another version. It has not carried out the request.
 */
export const agentIsForeign = (error: unknown) => error instanceof AgentError && error.fault === 'foreign'

/**
 * True when `error` says that no agent listens, or that the agent ended: every request may be sent
 * again.
 */
export const noAgent = (error: unknown) => ['ENOENT', 'ENOTDIR', 'ECONNREFUSED', 'ENOTSOCK'].includes(codeOf(error)) || isReset(error)

/**
 * True when `error` says that the agent cannot reach the caller's network namespace: the caller
 * must do the work itself.
 */
export const isUnseen = (error: unknown) => (error as { unseen?: true }).unseen === true

const isReset = (error: unknown) => ['ECONNRESET', 'EPIPE'].includes(codeOf(error))

const codeOf = (error: unknown) => String((error as NodeJS.ErrnoException).code ?? '')

/**
 * The answer of a running agent. Throws CniError with the agent's code; AgentError with code 11
 * when no answer comes in time, or the agent is of another version; the connection's own error when
 * no agent runs: see noAgent().
 */
export async function ask<R extends Request>(dataDir: string, request: R, deadlineMs = DEADLINE_MS): Promise<Answers[R['op']]> {
  const exchange = typeof Bun === 'undefined' ? exchangeByNode : exchangeByBun
  const path = socketPath(dataDir)
  const text = `${JSON.stringify({ protocol: PROTOCOL, ...request })}\n`
  const until = performance.now() + deadlineMs
  if (lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink()) throw notASocket(path)
  for (let resets = 0; ; ) {
    try {
      return parseAnswer(path, await exchange(path, text, Math.max(until - performance.now(), 1))) as Answers[R['op']]
    } catch (error) {
      const isFull = codeOf(error) === 'EAGAIN' // the queue of connections is full
      if (error === TIMEOUT || (isFull && performance.now() > until)) throw hangs(path, deadlineMs)
      if (isReset(error)) resets++
      else if (!isFull) throw error
      if (resets > MOST_RESETS) throw error
    }
    await new Promise(resolve => setTimeout(resolve, RETRY_MS))
  }
}

/**
 * connect(2) follows symbolic links, and our agent never makes one: whatever listens there is not
 * ours.
 */
const notASocket = (path: string) => Object.assign(new Error(`${path} is a symbolic link, not the agent's socket`), { code: 'ENOTSOCK' })

const TIMEOUT = new Error('no answer in time')

const hangs = (path: string, deadlineMs: number) =>
  new AgentError('hangs', `the agent at ${path} did not answer within ${deadlineMs / 1000} s`, 'one that hangs is replaced by the next ADD')

function parseAnswer(path: string, line: string): object {
  let answer: Answer | null
  try {
    answer = JSON.parse(line)
  } catch {
    throw new AgentError('foreign', `the agent at ${path} answered what is not JSON: ${JSON.stringify(line.slice(0, 100))}`)
  }
  if (answer?.protocol !== PROTOCOL)
    throw new AgentError(
      'foreign',
      `the agent at ${path} is of another version: it answered with "protocol" ${show(answer?.protocol ?? null)}, not ${PROTOCOL}`,
      'it is replaced by the next ADD, or by "tunlink agent"',
    )
  if (!answer.ok) throw errorOf(path, answer)
  const { protocol, ok, ...rest } = answer
  return rest
}

function errorOf(path: string, { error, unseen }: Extract<Answer, { ok: false }>): CniError {
  if (!isErrorCode(error?.code) || typeof error.msg !== 'string')
    return new AgentError('foreign', `the agent at ${path} answered with an error that is none: ${show(error ?? null)}`)
  return Object.assign(new CniError(error.code, error.msg, error.details), unseen ? { unseen: true } : {})
}

/** The error when a connection ends without an answer. */
const closedEarly = () => Object.assign(new Error('the agent closed the connection before it answered'), { code: 'ECONNRESET' })

/**
 * Sends one line and resolves with the line that answers it. Rejects with TIMEOUT after
 * `deadlineMs`.
 */
async function exchangeByNode(path: string, line: string, deadlineMs: number): Promise<string> {
  const { connect } = await import('node:net')
  return new Promise((resolve, reject) => {
    const received = lineReader(resolve)
    const socket = connect(path, () => socket.write(line))
    const timer = setTimeout(() => end(TIMEOUT), deadlineMs)
    const end = (error?: Error) => {
      clearTimeout(timer)
      if (error !== undefined) reject(error)
      socket.destroy()
    }
    socket.on('data', chunk => received(chunk) && end())
    socket.on('error', end)
    socket.on('close', () => end(closedEarly()))
  })
}

/**
 * The same under Bun: loading node:net there takes longer than all the rest of the exchange. Bun
 * 1.4 reports EAGAIN (the queue of connections is full) as ECONNREFUSED, too. The caller then
 * starts an agent; that agent finds the lock held, and ends the agent that holds it if that one
 * hangs.
 */
function exchangeByBun(path: string, line: string, deadlineMs: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const received = lineReader(resolve)
    let unsent = Buffer.from(line)
    let connected: BunSocket | undefined
    const end = (error?: Error) => {
      clearTimeout(timer)
      if (error !== undefined) reject(error) // set first, because end() calls close()
      connected?.end()
    }
    const timer = setTimeout(() => end(TIMEOUT), deadlineMs)
    const send = (socket: BunSocket) => {
      connected = socket
      unsent = unsent.subarray(socket.write(unsent))
    }
    Bun!
      .connect({
        unix: path,
        socket: {
          open: send,
          drain: send,
          data: (_, chunk) => void (received(chunk) && end()),
          error: (_, error) => end(error),
          close: () => end(closedEarly()),
        },
      })
      .catch(end)
  })
}

/** Takes chunks. Returns true when a line is complete, which then goes to `resolve`. */
function lineReader(resolve: (line: string) => void): (chunk: Uint8Array) => boolean {
  const chunks: Uint8Array[] = []
  return chunk => {
    chunks.push(chunk)
    if (!chunk.includes(10)) return false
    const text = Buffer.concat(chunks).toString()
    resolve(text.slice(0, text.indexOf('\n')))
    return true
  }
}

/** The part of Bun's API that is used here. */
interface BunSocket {
  write(bytes: Uint8Array): number
  end(): void
}
declare const Bun:
  | undefined
  | {
      connect(options: {
        unix: string
        socket: {
          open(socket: BunSocket): void
          drain(socket: BunSocket): void
          data(socket: BunSocket, chunk: Uint8Array): void
          error(socket: BunSocket, error: Error): void
          close(): void
        }
      }): Promise<unknown>
    }
