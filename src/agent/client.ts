/** The plugin's side of the agent's socket. */
import { CniError } from '../cni/error.ts'
import { type Answer, type Request, socketPath } from './protocol.ts'

/** A running agent's answer. Throws CniError with the agent's code, or the connection's error (`code` ENOENT, ECONNREFUSED) when none runs. */
export async function ask(dataDir: string, request: Request): Promise<Answer & { ok: true }> {
  const line = await exchange(socketPath(dataDir), `${JSON.stringify(request)}\n`)
  if (line === '') throw Object.assign(new Error('the agent closed the connection before it answered'), { code: 'ECONNRESET' })
  const answer = JSON.parse(line) as Answer
  if (!answer.ok) throw new CniError(answer.error.code, answer.error.msg, answer.error.details)
  return answer
}

/** True when `error` says that nobody listens, or that who did has ended: every request may be made again. */
export const noAgent = (error: unknown) =>
  ['ENOENT', 'ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'ENOTSOCK'].includes((error as NodeJS.ErrnoException).code ?? '')

/** Sends one line, resolves with what comes until the first line feed or the end. */
async function exchange(path: string, line: string): Promise<string> {
  const { connect } = await import('node:net')
  return new Promise((resolve, reject) => {
    let received = ''
    const socket = connect(path, () => socket.write(line))
    socket.setEncoding('utf8')
    socket.on('data', (chunk: string) => {
      received += chunk
      const end = received.indexOf('\n')
      if (end < 0) return
      socket.destroy()
      resolve(received.slice(0, end))
    })
    socket.on('error', reject)
    socket.on('close', () => resolve(received))
  })
}
