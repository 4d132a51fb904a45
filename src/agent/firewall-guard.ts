import { ensureFirewall, watchFirewall } from '../link/firewall.ts'
import { firewallEntries } from '../link/host-end.ts'
import { NetlinkSocket } from '../linux/netlink.ts'
import { NETLINK_NETFILTER } from '../linux/uapi.ts'
import { log } from './log.ts'

/** Restores what others remove from the node's firewall, for all links on record. */
export class FirewallGuard implements Disposable {
  readonly #dataDir: string
  #watch: Disposable | undefined

  constructor(dataDir: string) {
    this.#dataDir = dataDir
  }

  /** Repairs the firewall now, and whenever somebody changes the table. */
  start(): void {
    try {
      this.#watch ??= watchFirewall(() => this.#repair())
    } catch (error) {
      // On a kernel without nf_tables: links that need no firewall are served all the same.
      log('firewall not watched', { error: (error as Error).message })
    }
    this.#repair()
  }

  #repair(): void {
    const entries = () => firewallEntries(this.#dataDir)
    try {
      if (entries().length === 0) return
      using netfilter = new NetlinkSocket(NETLINK_NETFILTER)
      if (ensureFirewall(netfilter, entries)) log('firewall restored', { links: entries().length })
    } catch (error) {
      log('firewall not restored', { error: (error as Error).message })
    }
  }

  [Symbol.dispose](): void {
    this.#watch?.[Symbol.dispose]()
    this.#watch = undefined
  }
}
