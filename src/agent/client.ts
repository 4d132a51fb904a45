/** The plugin's side of the agent's socket. */
import { CniError } from '../cni/error.ts'
import { type Answer, type Answers, type Op, PROTOCOL, type Request, socketPath } from './protocol.ts'

/** A running agent's answer. Throws CniError with the agent's code, or the connection's error (`code` ENOENT, ECONNREFUSED) when none runs. */
export async function ask<O extends Op>(dataDir: string, request: Request<O>): Promise<Answers[O]> {
  const exchange = typeof Bun === 'undefined' ? exchangeByNode : exchangeByBun
  const line = await exchange(socketPath(dataDir), `${JSON.stringify({ protocol: PROTOCOL, ...request })}\n`)
  if (line === '') throw Object.assign(new Error('the agent closed the connection before it answered'), { code: 'ECONNRESET' })
  const answer = JSON.parse(line) as Answer
  if (!answer.ok) throw Object.assign(new CniError(answer.error.code, answer.error.msg, answer.error.details), { unseen: answer.unseen })
  return answer as unknown as Answers[O]
}

/** True when `error` says that nobody listens, or that who did has ended: every request may be made again. */
export const noAgent = (error: unknown) =>
  ['ENOENT', 'ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'ENOTSOCK'].includes((error as NodeJS.ErrnoException).code ?? '')

export const isUnseen = (error: unknown) => (error as { unseen?: true }).unseen === true
export const isHanging = (_error: unknown) => false
export const isOutdated = (_error: unknown) => false

/** Sends one line, resolves with what comes until the first line feed or the end. */
async function exchangeByNode(path: string, line: string): Promise<string> {
  const { connect } = await import('node:net')
  return new Promise((resolve, reject) => {
    const received = lineReader(resolve)
    const socket = connect(path, () => socket.write(line))
    socket.on('data', chunk => received(chunk) && socket.destroy())
    socket.on('error', reject)
    socket.on('close', () => resolve(''))
  })
}

/** The same where Bun runs us: loading node:net there costs more than all the rest of the exchange. */
function exchangeByBun(path: string, line: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const received = lineReader(resolve)
    let unsent = Buffer.from(line)
    const send = (socket: BunSocket) => {
      unsent = unsent.subarray(socket.write(unsent))
    }
    Bun!
      .connect({
        unix: path,
        socket: {
          open: send,
          drain: send,
          data: (socket, chunk) => void (received(chunk) && socket.end()),
          error: (_, error) => reject(error),
          close: () => resolve(''),
        },
      })
      .catch(reject)
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
