/**
 * As much of the Kubernetes API as tunlinkd asks for, over HTTP on 127.0.0.1:PORT: nodes (list by
 * pages, watch), patches of their status, events. Standard input, a JSON line each: a list replaces
 * all nodes; `{ "touch": name }` is a heartbeat of one, `{ "set": node }` and `{ "remove": name }`
 * change one, `{ "end": true }` ends all watches. Standard output: a JSON line per request.
 */
import { createServer, type ServerResponse } from 'node:http'
import { createInterface } from 'node:readline'

interface Node {
  metadata: { name: string; resourceVersion?: string }
  status?: object
}

/**
 * Of a process started later no version of an earlier one is known, as of an API restored from a
 * backup.
 */
const FIRST_VERSION = Date.now()
/** So many changes are remembered. */
const MOST_REMEMBERED = 1_000

let version = FIRST_VERSION
const nodes = new Map<string, Node>()
let remembered: { version: number; line: string }[] = []
const watchers = new Set<ServerResponse>()

const say = (line: object) => process.stdout.write(`${JSON.stringify(line)}\n`)

function change(type: 'ADDED' | 'MODIFIED' | 'DELETED', node: Node): Node {
  const object = { apiVersion: 'v1', kind: 'Node', ...node, metadata: { ...node.metadata, resourceVersion: String(++version) } }
  const line = `${JSON.stringify({ type, object })}\n`
  remembered = [...remembered.slice(1 - MOST_REMEMBERED), { version, line }]
  for (const watcher of watchers) watcher.write(line)
  return object
}

function set(node: Node): void {
  const { name } = node.metadata
  nodes.set(name, change(nodes.has(name) ? 'MODIFIED' : 'ADDED', node))
}

function remove(name: string): void {
  change('DELETED', nodes.get(name)!)
  nodes.delete(name)
}

function replace(next: Node[]): void {
  const gone = new Set(nodes.keys())
  for (const node of next) {
    gone.delete(node.metadata.name)
    set(node)
  }
  for (const name of gone) remove(name)
}

function touch(name: string): void {
  const node = nodes.get(name)!
  nodes.set(name, change('MODIFIED', { ...node, status: { ...node.status, heartbeat: new Date().toISOString() } }))
}

/**
 * A strategic merge patch of conditions, as the API does it: by type, and what is not named stays.
 */
function patchStatus(name: string, body: string): void {
  const node = nodes.get(name) as { metadata: Node['metadata']; status?: { conditions?: { type: string }[] } } | undefined
  if (node === undefined) return
  const conditions = new Map((node.status?.conditions ?? []).map(condition => [condition.type, condition]))
  for (const condition of JSON.parse(body).status.conditions as { type: string }[])
    conditions.set(condition.type, { ...conditions.get(condition.type), ...condition })
  nodes.set(name, change('MODIFIED', { ...node, status: { ...node.status, conditions: [...conditions.values()] } } as Node))
}

function watch(response: ServerResponse, from: number): void {
  const oldest = remembered[0]?.version ?? version + 1
  if (from < Math.min(FIRST_VERSION, oldest - 1) || from > version) {
    response.end(`${JSON.stringify({ type: 'ERROR', object: { kind: 'Status', code: 410, message: 'too old resource version' } })}\n`)
    return
  }
  response.flushHeaders()
  for (const { version, line } of remembered) if (version > from) response.write(line)
  watchers.add(response)
  response.on('close', () => watchers.delete(response))
}

function endWatches(): void {
  for (const watcher of watchers) watcher.end()
  watchers.clear()
}

function list(response: ServerResponse, limit: number, from: number): void {
  const items = [...nodes.values()].slice(from, from + limit)
  const next = from + limit < nodes.size ? { continue: String(from + limit) } : {}
  response.end(JSON.stringify({ apiVersion: 'v1', kind: 'NodeList', metadata: { resourceVersion: String(version), ...next }, items }))
}

createServer((request, response) => {
  const url = new URL(request.url!, 'http://localhost')
  const { searchParams: query, pathname: path } = url
  const chunks: Buffer[] = []
  request.on('data', chunk => chunks.push(chunk))
  request.on('end', () => {
    const body = Buffer.concat(chunks).toString()
    say({ method: request.method, path, watch: query.has('watch'), type: request.headers['content-type'], body })
    response.writeHead(request.method === 'POST' ? 201 : 200, { 'Content-Type': 'application/json' })
    if (query.has('watch')) return watch(response, Number(query.get('resourceVersion')))
    if (request.method === 'GET') return list(response, Number(query.get('limit') ?? Infinity), Number(query.get('continue') ?? 0))
    if (request.method === 'PATCH') patchStatus(path.split('/')[4]!, body)
    response.end(body)
  })
}).listen(Number(process.argv[2]), '127.0.0.1', () => say({ ready: true }))

createInterface(process.stdin).on('line', line => {
  const told = JSON.parse(line)
  if (Array.isArray(told)) replace(told)
  else if (told.set) set(told.set)
  else if (told.remove) remove(told.remove)
  else if (told.end) endWatches()
  else touch(told.touch)
})
process.stdin.on('end', () => process.exit(0))
