/**
 * Deletes links without waiting for the kernel's grace period.
 *
 * RTM_DELLINK takes a link out of every table, announces that it is gone, and then waits some 20 ms
 * (rcu_barrier in netdev_run_todo) before send(2) returns. Nobody can see the link in that time,
 * and the caller need not wait either: the request is sent by a thread of the kernel (IOSQE_ASYNC),
 * many at a time, while this one looks whether the link is still there.
 */
import { setImmediate } from 'node:timers/promises'
import { IORING_OP_SEND, IOSQE_ASYNC, IoUring, SQE_ADDR, SQE_FD, SQE_LEN, SQE_USER_DATA } from './io-uring.ts'
import { addressOf } from './libc.ts'
import { linkDeletion, linkExists } from './link.ts'
import type { NetlinkSocket } from './netlink.ts'

/**
 * A link to delete. Both sockets are of its network namespace, and the deleter owns them from now
 * on: one sends while the other looks whether the link still exists.
 */
export interface DoomedLink {
  index: number
  netlink: NetlinkSocket
  probe: NetlinkSocket
}

const MAX_IN_FLIGHT = 256
const REAP_MS = 20

export class LinkDeleter implements Disposable {
  readonly #ring = new IoUring(MAX_IN_FLIGHT, 2 * MAX_IN_FLIGHT)
  /** By user_data. The bytes must live until they are sent. */
  readonly #inFlight = new Map<number, { link: DoomedLink; bytes: Buffer }>()
  /** Links whose request was not sent: no acknowledgement will come. */
  readonly #refused = new WeakSet<DoomedLink>()
  #next = 0
  #timer: NodeJS.Timeout | undefined

  /**
   * Resolves when the link is gone. A missing link is not an error. Throws NetlinkError when the
   * kernel refuses, SyscallError when it cannot be asked.
   */
  async delete(link: DoomedLink): Promise<void> {
    try {
      while (!this.#send(link)) await setImmediate()
      while (linkExists(link.probe, link.index)) {
        this.#reap()
        if (!this.#isInFlight(link)) return this.#finish(link)
        await setImmediate()
      }
    } finally {
      if (!this.#isInFlight(link)) link.netlink[Symbol.dispose]()
      link.probe[Symbol.dispose]()
    }
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer)
    this.#ring[Symbol.dispose]()
  }

  /** False when too many deletions are under way. */
  #send(link: DoomedLink): boolean {
    this.#reap()
    if (this.#inFlight.size >= MAX_IN_FLIGHT) return false
    const at = this.#ring.next()
    if (at < 0) return false
    const bytes = link.netlink.prepare([linkDeletion(link.index)])
    const userData = this.#next
    this.#next = (this.#next + 1) | 0
    this.#inFlight.set(userData, { link, bytes })
    const { sqes } = this.#ring
    const address = addressOf(bytes)
    sqes[at] = IORING_OP_SEND | (IOSQE_ASYNC << 8)
    sqes[at + SQE_FD] = link.netlink.fd
    sqes[at + SQE_ADDR] = address | 0
    sqes[at + SQE_ADDR + 1] = address / 0x1_0000_0000
    sqes[at + SQE_LEN] = bytes.length
    sqes[at + SQE_USER_DATA] = userData
    this.#ring.submit(0)
    this.#timer ??= setTimeout(() => this.#reapLater(), REAP_MS)
    return true
  }

  /** Where no thread can be started (kernel.threads-max, pids.max), this one sends and waits. */
  #finish(link: DoomedLink): void {
    if (this.#refused.has(link)) link.netlink.requestBatch([linkDeletion(link.index)])
    else link.netlink.awaitAcknowledgements()
  }

  #isInFlight(link: DoomedLink): boolean {
    for (const flight of this.#inFlight.values()) if (flight.link === link) return true
    return false
  }

  /**
   * Handles the completion of a send. The caller closes its socket while the probe is open;
   * otherwise it is closed here.
   */
  #reap(): void {
    this.#ring.submit(0)
    this.#ring.reap((userData, result) => {
      const { link } = this.#inFlight.get(userData)!
      this.#inFlight.delete(userData)
      if (result < 0) this.#refused.add(link)
      if (!link.probe.isOpen) link.netlink[Symbol.dispose]()
      return true
    })
  }

  #reapLater(): void {
    this.#reap()
    this.#timer = this.#inFlight.size === 0 ? undefined : setTimeout(() => this.#reapLater(), REAP_MS)
  }
}

/** linkDelete() in the shape of LinkDeleter.delete(): waits for the grace period. */
export async function deleteAndWait({ index, netlink, probe }: DoomedLink): Promise<void> {
  try {
    if (linkExists(probe, index)) netlink.requestBatch([linkDeletion(index)])
  } finally {
    netlink[Symbol.dispose]()
    probe[Symbol.dispose]()
  }
}
