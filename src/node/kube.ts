/** The Kubernetes API. The only user of @kubernetes/client-node, which needs Node 22 or Bun. */
import {
  CoreV1Api,
  KubeConfig,
  Observable,
  PatchStrategy,
  type RequestContext,
  ResponseContext,
  setHeaderOptions,
  Watch,
} from '@kubernetes/client-node'
import { Backoff } from './backoff.ts'
import { followNodes, type NodeApi, type NodePage, type NodeWatchEvent, parseNodePage } from './node-watch.ts'
import type { Nodes } from './nodes.ts'

const REQUEST_MS = 15_000
/** The client replaces its own middleware unless told otherwise. */
const APPENDED = { middlewareMergeStrategy: 'append' as const }
/** Nodes in one page of a list: some 10 KB each. */
const PAGE_NODES = 100

export interface Condition {
  type: string
  status: 'True' | 'False'
  reason: string
  message: string
}

export interface NodeEvent {
  type: 'Normal' | 'Warning'
  reason: string
  message: string
}

export class Kube implements NodeApi {
  readonly #config = new KubeConfig()
  readonly #core: CoreV1Api
  readonly #requestMs: number
  /** The number of failed requests, for the metrics. */
  errors = 0

  /**
   * Uses a kubeconfig file if given, else the pod's service account. Throws when neither exists.
   */
  constructor(kubeconfig?: string, requestMs = REQUEST_MS) {
    this.#requestMs = requestMs
    if (kubeconfig !== undefined) this.#config.loadFromFile(kubeconfig)
    else {
      if (process.env.KUBERNETES_SERVICE_HOST === undefined)
        throw new Error('Cannot find the Kubernetes API: KUBERNETES_SERVICE_HOST is unset, so this is no pod; give --kubeconfig FILE')
      this.#config.loadFromCluster()
    }
    this.#core = this.#config.makeApiClient(CoreV1Api)
  }

  get server(): string {
    return this.#config.getCurrentCluster()?.server ?? ''
  }

  /**
   * Keeps `nodes` up to date, and calls `changed` after each change that tunlinkd acts on, until
   * `signal` aborts.
   */
  followNodes(nodes: Nodes, changed: () => void, signal: AbortSignal): void {
    const failed = () => void this.errors++
    void followNodes(this, nodes, { backoff: new Backoff(1_000, 30_000), changed, failed, signal })
  }

  async listNodes(next?: string): Promise<NodePage> {
    let page: string | undefined
    // The text is taken before the client parses it: the client would make an object of every part
    // of each Node.
    const taken = async (response: ResponseContext) => {
      if (response.httpStatusCode !== 200) return response
      page = await response.body.text()
      return new ResponseContext(200, response.headers, { ...response.body, text: async () => '{"items":[]}' })
    }
    const take = { ...this.#limited, post: (response: ResponseContext) => new Observable(taken(response)) }
    const from = next === undefined ? {} : { _continue: next }
    await this.#within(this.#core.listNode({ limit: PAGE_NODES, ...from }, { ...APPENDED, middleware: [take] }), 'list nodes')
    return parseNodePage(page!)
  }

  watchNodes(resourceVersion: string, told: (event: NodeWatchEvent) => void, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      let controller: AbortController | undefined
      const done = (error?: Error | null) => {
        signal.removeEventListener('abort', abort)
        controller?.abort()
        if (!error || error.name === 'TimeoutError')
          resolve() // nothing arrived for half a minute: the client counts the watch as lost
        else reject(Object.assign(new Error(`Cannot watch nodes: ${error.message}`, { cause: error }), { code: statusOf(error) }))
      }
      const abort = () => done()
      signal.addEventListener('abort', abort)
      const pass = (type: string, object: NodeWatchEvent['object']) => {
        try {
          told({ type, object })
        } catch (error) {
          done(error as Error) // the client would ignore it
        }
      }
      new Watch(this.#config).watch('/api/v1/nodes', { resourceVersion, allowWatchBookmarks: true }, pass, done).then(
        started => {
          controller = started
          if (signal.aborted) started.abort()
        },
        error => done(error),
      )
    })
  }

  /**
   * Sets conditions of a node's status. `present` has their present status by type:
   * lastTransitionTime may change only with the status.
   */
  async setConditions(node: string, conditions: Condition[], present: Record<string, string> = {}): Promise<void> {
    const now = new Date().toISOString()
    const timed = conditions.map(condition => ({
      ...condition,
      lastHeartbeatTime: now,
      // A patch leaves alone what it does not name.
      ...(present[condition.type] === condition.status ? {} : { lastTransitionTime: now }),
    }))
    const body = { status: { conditions: timed } }
    const strategy = setHeaderOptions('Content-Type', PatchStrategy.StrategicMergePatch, { ...APPENDED, middleware: [this.#limited] })
    await this.#counted(this.#core.patchNodeStatus({ name: node, body }, strategy), `set conditions of node ${node}`)
  }

  /** An event that `kubectl describe node` shows. */
  async event(node: string, { type, reason, message }: NodeEvent): Promise<void> {
    const now = new Date()
    const body = {
      metadata: { name: `${node}.${now.getTime().toString(16)}${Math.floor(Math.random() * 65536).toString(16)}`, namespace: 'default' },
      // the kubelet names a node so in its events
      involvedObject: { kind: 'Node', name: node, uid: node },
      type,
      reason,
      message: message.slice(0, 1024),
      source: { component: 'tunlinkd', host: node },
      firstTimestamp: now,
      lastTimestamp: now,
      count: 1,
    }
    const options = { ...APPENDED, middleware: [this.#limited] }
    await this.#counted(this.#core.createNamespacedEvent({ namespace: 'default', body }, options), `create event ${reason}`)
  }

  /**
   * Ends a request, and the reading of its answer, when its time is over: the client itself has no
   * timeout, and would read on beside the next try. A moment later, so that the error is ours.
   */
  get #limited() {
    return {
      pre: (request: RequestContext) => {
        request.setSignal(AbortSignal.timeout(this.#requestMs + 100))
        return new Observable(Promise.resolve(request))
      },
      post: (response: ResponseContext) => new Observable(Promise.resolve(response)),
    }
  }

  /** Rejects when there is no answer in time, whatever the client does, and says what was tried. */
  async #within<T>(request: Promise<T>, doing: string): Promise<T> {
    let timer: NodeJS.Timeout | undefined
    const timeout = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error('no answer in time')), this.#requestMs)
    })
    try {
      return await Promise.race([request, timeout])
    } catch (cause) {
      const message = `Cannot ${doing}: ${(cause as Error).message.split('\n', 3).join(' ')}`
      throw Object.assign(new Error(message, { cause }), { code: statusOf(cause) })
    } finally {
      clearTimeout(timer)
    }
  }

  async #counted(request: Promise<unknown>, doing: string): Promise<void> {
    try {
      await this.#within(request, doing)
    } catch (error) {
      this.errors++
      throw error
    }
  }
}

/** The HTTP status, or the `code` of a Status: the client's errors have one of them. */
function statusOf(error: unknown): number | undefined {
  const { code, statusCode } = error as { code?: unknown; statusCode?: number }
  return typeof code === 'number' ? code : statusCode
}
