/**
 * As much of the Kubernetes API as tunlinkd asks for, over HTTP on 127.0.0.1:PORT: nodes (list, watch), patches of their status, events.
 * Standard input: a JSON line replaces all nodes. Standard output: a JSON line per request.
 */
import { createServer, type ServerResponse } from 'node:http'
import { createInterface } from 'node:readline'

interface Node {
  metadata: { name: string; resourceVersion?: string }
}

let version = 1
let nodes: Node[] = []
const watchers = new Set<ServerResponse>()

const say = (line: object) => process.stdout.write(`${JSON.stringify(line)}\n`)
const send = (type: string, object: Node) => {
  for (const watcher of watchers) watcher.write(`${JSON.stringify({ type, object })}\n`)
}

function replace(next: Node[]): void {
  const old = new Map(nodes.map(node => [node.metadata.name, node]))
  nodes = next.map(node => ({
    apiVersion: 'v1',
    kind: 'Node',
    ...node,
    metadata: { ...node.metadata, resourceVersion: String(++version) },
  }))
  for (const node of nodes) send(old.delete(node.metadata.name) ? 'MODIFIED' : 'ADDED', node)
  for (const node of old.values()) send('DELETED', { ...node, metadata: { ...node.metadata, resourceVersion: String(++version) } })
}

createServer((request, response) => {
  const url = new URL(request.url!, 'http://localhost')
  const chunks: Buffer[] = []
  request.on('data', chunk => chunks.push(chunk))
  request.on('end', () => {
    const body = Buffer.concat(chunks).toString()
    say({ method: request.method, path: url.pathname, watch: url.searchParams.has('watch'), type: request.headers['content-type'], body })
    response.writeHead(request.method === 'POST' ? 201 : 200, { 'Content-Type': 'application/json' })
    if (url.searchParams.has('watch')) {
      response.flushHeaders()
      watchers.add(response)
      response.on('close', () => watchers.delete(response))
    } else if (request.method === 'GET') {
      response.end(JSON.stringify({ apiVersion: 'v1', kind: 'NodeList', metadata: { resourceVersion: String(version) }, items: nodes }))
    } else response.end(body)
  })
}).listen(Number(process.argv[2]), '127.0.0.1', () => say({ ready: true }))

createInterface(process.stdin).on('line', line => replace(JSON.parse(line)))
process.stdin.on('end', () => process.exit(0))
