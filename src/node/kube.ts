/** The Kubernetes API. The only door to @kubernetes/client-node, which needs Node 22 or Bun. */
import { CoreV1Api, KubeConfig, ListWatch, PatchStrategy, setHeaderOptions, type V1Node, Watch } from '@kubernetes/client-node'
import { Backoff } from './backoff.ts'
import { describe, log } from './log.ts'
import { type NodeInfo, nodeInfo } from './node-info.ts'

const REQUEST_MS = 15_000
/** Changes that come together are told together. */
const DEBOUNCE_MS = 100

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

export class Kube {
  readonly #config = new KubeConfig()
  readonly #core: CoreV1Api
  readonly #backoff = new Backoff(1_000, 30_000)
  #informer: ListWatch<V1Node> | undefined
  #restart: NodeJS.Timeout | undefined
  #debounce: NodeJS.Timeout | undefined
  #stopping = false
  /** Requests that failed, for the metrics. */
  errors = 0

  /** With a file as kubectl has it, else with the service account of the pod. Throws when neither is there. */
  constructor(kubeconfig?: string) {
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
   * Calls `changed` with all nodes, after each change, for as long as this object lives. The informer dies of whatever goes wrong: it is
   * started again here, later each time. While the API is away `changed` is not called: what is known stays.
   */
  watchNodes(changed: (nodes: NodeInfo[]) => void): void {
    const list = async () => {
      const nodes = await within(this.#core.listNode(), 'list nodes')
      for (const node of nodes.items) trim(node)
      this.#backoff.reset()
      this.#later(changed)
      return nodes
    }
    const informer = new ListWatch<V1Node>('/api/v1/nodes', new Watch(this.#config), list, false)
    this.#informer = informer
    const observe = (node: V1Node) => {
      trim(node)
      this.#backoff.reset()
      this.#later(changed)
    }
    for (const verb of ['add', 'update', 'delete'] as const) informer.on(verb, observe)
    informer.on('error', error => {
      if (this.#stopping || this.#restart !== undefined) return
      this.errors++
      const delayMs = this.#backoff.next()
      log.warn('Kubernetes API lost, trying again', { server: this.server, error: describe(error), delayMs })
      this.#restart = setTimeout(() => {
        this.#restart = undefined
        void informer.start()
      }, delayMs)
    })
    void informer.start()
  }

  stop(): void {
    this.#stopping = true // first: stopping an informer makes it report an error
    clearTimeout(this.#restart)
    clearTimeout(this.#debounce)
    void this.#informer?.stop()
  }

  /** Sets conditions of a node's status. */
  async setConditions(node: string, conditions: Condition[]): Promise<void> {
    const now = new Date().toISOString()
    const body = { status: { conditions: conditions.map(one => ({ ...one, lastHeartbeatTime: now, lastTransitionTime: now })) } }
    const strategy = setHeaderOptions('Content-Type', PatchStrategy.StrategicMergePatch)
    await this.#counted(this.#core.patchNodeStatus({ name: node, body }, strategy), `set conditions of node ${node}`)
  }

  /** An event that `kubectl describe node` shows. */
  async event(node: string, { type, reason, message }: NodeEvent): Promise<void> {
    const now = new Date()
    const body = {
      metadata: { name: `${node}.${now.getTime().toString(16)}${Math.floor(Math.random() * 65536).toString(16)}`, namespace: 'default' },
      involvedObject: { kind: 'Node', name: node, uid: node }, // as the kubelet names a node in its events
      type,
      reason,
      message: message.slice(0, 1024),
      source: { component: 'tunlinkd', host: node },
      firstTimestamp: now,
      lastTimestamp: now,
      count: 1,
    }
    await this.#counted(this.#core.createNamespacedEvent({ namespace: 'default', body }), `create event ${reason}`)
  }

  async #counted(request: Promise<unknown>, doing: string): Promise<void> {
    try {
      await within(request, doing)
    } catch (error) {
      this.errors++
      throw error
    }
  }

  #later(changed: (nodes: NodeInfo[]) => void): void {
    this.#debounce ??= setTimeout(() => {
      this.#debounce = undefined
      changed(this.#informer!.list().map(nodeInfo))
    }, DEBOUNCE_MS)
  }
}

/** The client waits for ever by itself. */
async function within<T>(request: Promise<T>, doing: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('no answer in time')), REQUEST_MS)
  })
  try {
    return await Promise.race([request, timeout])
  } catch (cause) {
    throw new Error(`Cannot ${doing}: ${(cause as Error).message.split('\n', 3).join(' ')}`, { cause })
  } finally {
    clearTimeout(timer)
  }
}

/** The informer keeps whole objects: leave the large parts out. */
function trim(node: V1Node): void {
  if (node.metadata !== undefined) delete node.metadata.managedFields
  if (node.status !== undefined) delete node.status.images
}
