/**
 * Follows the Nodes of the API: lists them once, and watches from there. Lists again when the API
 * no longer has the events since then.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Backoff } from './backoff.ts'
import { describe, log } from './log.ts'
import { type NodeInfo, nodeInfo, type V1NodeLike } from './node-info.ts'
import type { Nodes } from './nodes.ts'

/** HTTP 410: the API no longer has the events after a resourceVersion, or the rest of a list. */
const GONE = 410
/** A watch that lasted longer than this did not fail. */
const LASTING_MS = 5_000
/**
 * So many watches in a row may fail before everything is listed again: an API that was restored
 * from a backup has other versions.
 */
const MOST_FAILED = 3

export interface NodePage {
  items: V1NodeLike[]
  resourceVersion: string
  /** Where the next page begins; undefined behind the last. */
  next?: string
}

/** `type` is ADDED, MODIFIED, DELETED, BOOKMARK, or ERROR with a Status as the object. */
/**
 * Reads a NodeList's JSON. Throws an Error for anything else: a proxy's error page taken for an
 * empty list would remove every route from the node.
 */
export function parseNodePage(text: string): NodePage {
  const { items, metadata } = JSON.parse(text) ?? {}
  if (!Array.isArray(items) || typeof metadata?.resourceVersion !== 'string')
    throw new Error(`Cannot list nodes: the answer is no NodeList, but ${JSON.stringify(text.slice(0, 100))}`)
  return {
    items,
    resourceVersion: metadata.resourceVersion,
    ...(typeof metadata.continue === 'string' && metadata.continue !== '' ? { next: metadata.continue } : {}),
  }
}

export interface NodeWatchEvent {
  type: string
  object: V1NodeLike & { code?: number; message?: string }
}

/**
 * The requests to the API: see kube.ts. Errors have `code` when the API answered with an HTTP
 * status.
 */
export interface NodeApi {
  server: string
  listNodes(next?: string): Promise<NodePage>
  /** Resolves when the API ends the watch, as it does every few minutes. */
  watchNodes(resourceVersion: string, told: (event: NodeWatchEvent) => void, signal: AbortSignal): Promise<void>
}

export interface Following {
  backoff: Backoff
  /** Something that tunlinkd acts on has changed. */
  changed(): void
  /** A request has failed. */
  failed(): void
  signal: AbortSignal
}

/**
 * Keeps `nodes` up to date until `signal` aborts. While the API is away they stay as they are, and
 * requests are repeated after growing delays.
 */
export async function followNodes(api: NodeApi, nodes: Nodes, { backoff, changed, failed, signal }: Following): Promise<void> {
  let version: string | undefined
  let failures = 0
  while (!signal.aborted) {
    const sinceMs = performance.now()
    let reason: string | undefined
    let isHealthy = false
    try {
      if (version === undefined) {
        const list = await listAll(api)
        version = list.resourceVersion
        if (nodes.replace(list.nodes)) changed()
      }
      await api.watchNodes(
        version,
        event => {
          isHealthy = true
          const { code, message, metadata } = event.object ?? {}
          if (event.type === 'ERROR') throw Object.assign(new Error(message ?? 'watch failed'), { code })
          version = metadata?.resourceVersion ?? version
          if (apply(nodes, event)) changed()
        },
        signal,
      )
      failures = 0
    } catch (error) {
      if (signal.aborted) return
      const isGone = (error as { code?: unknown }).code === GONE
      if (isGone || ++failures >= MOST_FAILED) version = undefined
      if (!isGone) {
        failed()
        reason = describe(error)
      }
    }
    if (isHealthy || performance.now() - sinceMs > LASTING_MS) {
      backoff.reset()
      if (reason === undefined) continue
    }
    const delayMs = backoff.next()
    if (reason !== undefined) log.warn('Kubernetes API lost, trying again', { server: api.server, error: reason, delayMs })
    await sleep(delayMs, undefined, { signal }).catch(() => {})
  }
}

/** More than any cluster has: an API that always names a next page must not fill the memory. */
const MOST_PAGES = 1_000

/** Page by page: the Nodes of a large cluster are never in memory all at once. */
async function listAll(api: NodeApi): Promise<{ nodes: ReturnType<typeof nodeInfo>[]; resourceVersion: string }> {
  const nodes: ReturnType<typeof nodeInfo>[] = []
  let next: string | undefined
  for (let pages = 0; pages < MOST_PAGES; pages++) {
    const page: NodePage = await api.listNodes(next)
    nodes.push(...page.items.map(nodeInfo).filter(isNamed))
    if (page.next === undefined) return { nodes, resourceVersion: page.resourceVersion }
    next = page.next
  }
  throw new Error(`Cannot list nodes: there is a next page behind ${MOST_PAGES}`)
}

function apply(nodes: Nodes, { type, object }: NodeWatchEvent): boolean {
  const node = nodeInfo(object)
  if (!['ADDED', 'MODIFIED', 'DELETED'].includes(type) || !isNamed(node)) return false
  return type === 'DELETED' ? nodes.delete(node.name) : nodes.set(node)
}

/** False for an object that cannot be a Node of the API. */
const isNamed = ({ name }: NodeInfo): boolean => name !== ''
