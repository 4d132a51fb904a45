/** The plugin's side of the agent's socket. */
import { lstatSync } from 'node:fs'
import { CniError, CODE, isErrorCode } from '../cni/error.ts'
import { show } from '../cni/must-be.ts'
import { type Answer, type Answers, PROTOCOL, type Request, socketPath } from './protocol.ts'

/** Longer than an ADD takes with a slow IPAM plugin; shorter than runtimes wait for a plugin. */
const DEADLINE_MS = 10_000
const RETRY_MS = 20
/**
 * An agent that renews itself closes connections that it has read nothing from; one that does so
 * again and again has a fault.
 */
const MOST_RESETS = 5

/**
 * The agent is there but cannot be talked to. `fault`: it does not answer in time, or it speaks
 * another version of the protocol.
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
 * out, or may still be.
 */
export const agentHangs = (error: unknown) => error instanceof AgentError && error.fault === 'hangs'

/**
 * True when `error` says that the agent is of another version. It has understood nothing of the
 * request.
 */
export const agentIsForeign = (error: unknown) => error instanceof AgentError && error.fault === 'foreign'

/**
 * True when `error` says that nobody listens, or that who did has ended: every request may be made
 * again.
 */
export const noAgent = (error: unknown) => ['ENOENT', 'ENOTDIR', 'ECONNREFUSED', 'ENOTSOCK'].includes(codeOf(error)) || isReset(error)

/**
 * True when `error` says that the agent cannot reach the caller's network namespace: the caller is
 * to do it itself.
 */
export const isUnseen = (error: unknown) => (error as { unseen?: true }).unseen === true

const isReset = (error: unknown) => ['ECONNRESET', 'EPIPE'].includes(codeOf(error))

const codeOf = (error: unknown) => String((error as NodeJS.ErrnoException).code ?? '')

/**
 * A running agent's answer. Throws CniError with the agent's code; AgentError with 11 when there is
 * no answer within the deadline, or one of another version; the connection's error when no agent
 * runs: see noAgent().
 */
export async function ask<R extends Request>(dataDir: string, request: R, deadlineMs = DEADLINE_MS): Promise<Answers[R['op']]> {
  const exchange = typeof Bun === 'undefined' ? exchangeByNode : exchangeByBun
  const path = socketPath(dataDir)
  const text = `${JSON.stringify({ protocol: PROTOCOL, ...request })}\n`
  const until = Date.now() + deadlineMs
  if (lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink()) throw notASocket(path)
  for (let resets = 0; ; ) {
    try {
      return parseAnswer(path, await exchange(path, text, Math.max(until - Date.now(), 1))) as Answers[R['op']]
    } catch (error) {
      const isFull = codeOf(error) === 'EAGAIN' // too many wait to be accepted
      if (error === TIMEOUT || (isFull && Date.now() > until)) throw hangs(path, deadlineMs)
      if (isReset(error)) resets++
      else if (!isFull) throw error
      if (resets > MOST_RESETS) throw error
    }
    await new Promise(resolve => setTimeout(resolve, RETRY_MS))
  }
}

/** connect(2) would follow a symbolic link to whatever listens there: no agent of ours does. */
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

/** What rejects when a connection ends without an answer. */
const closedEarly = () => Object.assign(new Error('the agent closed the connection before it answered'), { code: 'ECONNRESET' })

/** Sends one line, resolves with the line that comes. Rejects with TIMEOUT after `deadlineMs`. */
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
 * The same where Bun runs us: loading node:net there costs more than all the rest of the exchange.
 * Bun 1.4 calls it ECONNREFUSED, too, when the kernel says EAGAIN: then who asked starts an agent,
 * which finds that the lock is held and ends the one that has it.
 */
function exchangeByBun(path: string, line: string, deadlineMs: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const received = lineReader(resolve)
    let unsent = Buffer.from(line)
    let connected: BunSocket | undefined
    const end = (error?: Error) => {
      clearTimeout(timer)
      if (error !== undefined) reject(error) // first, as end() calls close()
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

/** Takes chunks; true when a line is complete, which then goes to `resolve`. */
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

/** As much of Bun as this needs. */
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
