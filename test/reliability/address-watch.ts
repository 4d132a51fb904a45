/**
 * Every address of a node's links and of its pods, from one moment to the next: the kernel says
 * each change to one socket in the order in which they happen, whatever namespace they are in.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { eventually, inside } from '../support.ts'

/** `ip monitor`, once for its own namespace and once for one that has an ID there. */
const CHANGE = /^\[nsid (\w+)\](Deleted )?(\d+): \S+ +inet6? ([^ /]+)(?: peer ([^ /]+))?/

/** Addresses of no link, put on lo to see how far the monitor is. */
const MARKS = '198.18'

export class AddressWatch {
  /** Changes that were seen. */
  changes = 0
  /** Each address that was at two links at a moment, in words. */
  readonly doubles: string[] = []
  readonly #node: string
  readonly #monitor: ChildProcess
  /**
   * By address, the devices that have it at this moment: the pods' ends, and apart from them the
   * node's, for which it is the far end.
   */
  readonly #holders = { pod: new Map<string, Set<string>>(), node: new Map<string, Set<string>>() }
  #marks = 0
  #lastMark = 0
  #complaints = ''

  private constructor(node: string, pods: string[]) {
    this.#node = node
    for (const [id, pod] of pods.entries()) execFileSync('ip', ['-n', node, 'netns', 'set', pod, String(id)])
    const args = ['-n', node, '-o', '-rcvbuf', String(64 << 20), 'monitor', 'address', 'all-nsid']
    this.#monitor = spawn('ip', args, { stdio: ['ignore', 'pipe', 'pipe'] })
    createInterface({ input: this.#monitor.stdout! }).on('line', line => this.#take(line))
    // such as ENOBUFS: events were lost
    this.#monitor.stderr!.on('data', chunk => (this.#complaints += chunk))
  }

  /** Resolves when it watches. `pods` have no link with the node yet. */
  static async start(node: string, pods: string[]): Promise<AddressWatch> {
    const watch = new AddressWatch(node, pods)
    await watch.caughtUp()
    return watch
  }

  /** Ends when everything until now was seen; throws when something was missed. */
  async end(): Promise<void> {
    try {
      await this.caughtUp()
      if (this.#complaints !== '') throw new Error(`ip monitor: ${this.#complaints}`)
    } finally {
      this.#monitor.kill()
    }
  }

  /** Addresses that a link or a pod has at this moment. */
  get held(): string[] {
    return [...new Set(Object.values(this.#holders).flatMap(holders => [...holders.keys()]))].sort()
  }

  /** Resolves when everything until now was seen: marks are made until the monitor says one. */
  async caughtUp(): Promise<void> {
    const first = this.#marks + 1
    await eventually('ip monitor says a change', () => {
      if (this.#lastMark >= first) return true
      const mark = ++this.#marks
      const address = `${MARKS}.${mark >> 8}.${mark & 255}/32`
      for (const what of ['add', 'del']) inside(this.#node, 'ip', 'address', what, address, 'dev', 'lo')
      return false
    })
  }

  #take(line: string): void {
    const [, namespace, deleted, index, local, peer] = CHANGE.exec(line) ?? []
    if (namespace === 'current' && local?.startsWith(MARKS)) {
      const [, , high, low] = local.split('.').map(Number)
      this.#lastMark = high! * 256 + low!
    }
    if (peer === undefined) return
    this.changes++
    const isNode = namespace === 'current'
    const holders = this.#holders[isNode ? 'node' : 'pod']
    const address = isNode ? peer : local!
    const devices = holders.get(address) ?? new Set()
    if (deleted) devices.delete(`${namespace} ${index}`)
    else devices.add(`${namespace} ${index}`)
    if (devices.size === 0) holders.delete(address)
    else holders.set(address, devices)
    if (devices.size > 1) this.doubles.push(`change ${this.changes}: ${address} is at ${[...devices].join(' and ')}`)
  }
}
