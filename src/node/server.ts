/** /healthz, /readyz and /metrics over HTTP. */
import { createServer, type Server } from 'node:http'
import { describe, log } from './log.ts'

/** Resolves with status and text. */
export type Page = () => Promise<{ status: number; body: string }> | { status: number; body: string }

/** Serves `pages` by path at HOST:PORT. Rejects when the address is wrong or in use. */
export function serve(address: string, pages: Record<string, Page>): Promise<Server> {
  const { host, port } = parseBindAddress(address)
  const server = createServer((request, response) => {
    const page = pages[(request.url ?? '').split('?')[0]!]
    const answer = async () => {
      if (page === undefined) return { status: 404, body: `${Object.keys(pages).join('\n')}\n` }
      try {
        return await page()
      } catch (error) {
        log.error('request failed', { url: request.url, error: describe(error) })
        return { status: 500, body: `${describe(error)}\n` }
      }
    }
    void answer().then(({ status, body }) => {
      response.writeHead(status, { 'Content-Type': 'text/plain; version=0.0.4; charset=utf-8' })
      response.end(request.method === 'HEAD' ? '' : body)
    })
  })
  return new Promise((resolve, reject) => {
    server.on('error', cause => reject(new Error(`Cannot listen at ${address}: ${cause.message}`, { cause })))
    server.listen({ host, port }, () => resolve(server))
  })
}

/**
 * An empty host means every address; an IPv6 host may lack brackets. Throws an Error when there is
 * no port.
 */
export function parseBindAddress(address: string): { host?: string; port: number } {
  const [, host, port] = /^(.*):(\d{1,5})$/.exec(address) ?? []
  if (host === undefined || Number(port) > 65535) throw new Error(`Cannot listen at "${address}": it must be HOST:PORT`)
  const bare = host.replace(/^\[(.*)\]$/, '$1')
  return bare === '' ? { port: Number(port) } : { host: bare, port: Number(port) }
}

/** The form of Kubernetes' own components: a line for each check, 503 when one fails. */
export function checklist(checks: Record<string, string | true>): { status: number; body: string } {
  const lines = Object.entries(checks).map(([name, result]) => (result === true ? `[+]${name} ok` : `[-]${name} failed: ${result}`))
  const failed = Object.values(checks).some(result => result !== true)
  return { status: failed ? 503 : 200, body: `${lines.join('\n')}\n` }
}
