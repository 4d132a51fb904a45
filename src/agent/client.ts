/** The plugin's side of the agent's socket. */
import { lstatSync } from 'node:fs'
import { CniError, CODE, isErrorCode } from '../cni/error.ts'
import { show } from '../cni/must-be.ts'
import { type Answer, type Answers, type Op, PROTOCOL, type Request, socketPath } from './protocol.ts'

/** Longer than an ADD with a slow IPAM plugin takes; shorter than runtimes wait for a plugin. */
const DEADLINE_MS = 10_000
const RETRY_MS = 20
/** Bytes: the list of 40,000 links. Whatever sends more without an end of line is no agent. */
const LONGEST_ANSWER = 16 << 20
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
      return parseAnswer(path, request.op, await exchange(path, text, Math.max(until - performance.now(), 1))) as Answers[R['op']]
    } catch (error) {
      const isFull = codeOf(error) === 'EAGAIN' // the queue of connections is full
      if (error === TIMEOUT || (isFull && performance.now() > until)) throw hangs(path, deadlineMs)
      if (error === TOO_LONG) throw new AgentError('foreign', `the agent at ${path} sent more than ${LONGEST_ANSWER} bytes as an answer`)
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

const TOO_LONG = new Error('no end of the answer')

const hangs = (path: string, deadlineMs: number) =>
  new AgentError('hangs', `the agent at ${path} did not answer within ${deadlineMs / 1000} s`, 'one that hangs is replaced by the next ADD')

function parseAnswer(path: string, op: Op, line: string): object {
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
  if (ok !== true || IS_WHOLE[op]?.(rest) === false)
    throw new AgentError('foreign', `the agent at ${path} answered "${op}" with ${show(rest)}`)
  return rest
}

const isObject = (value: unknown): boolean => typeof value === 'object' && value !== null && !Array.isArray(value)

const areAll = (list: unknown, is: (item: unknown) => boolean): boolean => Array.isArray(list) && list.every(is)

function isJsonObject(text: unknown): boolean {
  try {
    return typeof text === 'string' && isObject(JSON.parse(text))
  } catch {
    return false
  }
}

/** What an answer must have for its caller to go on: a result goes to the runtime as it is. */
const IS_WHOLE: { [O in Op]?: (answer: Record<string, unknown>) => boolean } = {
  add: ({ result, warnings = [] }) => isJsonObject(result) && areAll(warnings, warning => typeof warning === 'string'),
  list: ({ links }) => areAll(links, isObject),
  stats: ({ verbs }) => isObject(verbs),
  status: ({ pid }) => Number.isSafeInteger(pid),
}

function errorOf(path: string, { error, unseen }: Extract<Answer, { ok: false }>): CniError {
  if (!isErrorCode(error?.code) || typeof error.msg !== 'string' || !['string', 'undefined'].includes(typeof error.details))
    return new AgentError('foreign', `the agent at ${path} answered with an error that is none: ${show(error ?? null)}`)
  return Object.assign(new CniError(error.code, error.msg, error.details), unseen ? { unseen: true } : {})
}

/** The error when a connection ends without an answer. */
const closedEarly = () => Object.assign(new Error('the agent closed the connection before it answered'), { code: 'ECONNRESET' })

/**
 * Sends one line and resolves with the line that answers it. Rejects with TIMEOUT after
 * `deadlineMs`, and with TOO_LONG.
 */
async function exchangeByNode(path: string, line: string, deadlineMs: number): Promise<string> {
  const { connect } = await import('node:net')
  return new Promise((resolve, reject) => {
    const received = lineReader(resolve, reject)
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
    const received = lineReader(resolve, reject)
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

/**
 * Takes chunks. Returns true when a line is complete, which then goes to `resolve`, or is too long:
 * TOO_LONG goes to `reject`.
 */
function lineReader(resolve: (line: string) => void, reject: (error: Error) => void): (chunk: Uint8Array) => boolean {
  const chunks: Uint8Array[] = []
  let size = 0
  return chunk => {
    chunks.push(chunk)
    size += chunk.length
    if (chunk.includes(10)) {
      const text = Buffer.concat(chunks).toString()
      resolve(text.slice(0, text.indexOf('\n')))
    } else if (size > LONGEST_ANSWER) reject(TOO_LONG)
    else return false
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
