/** Keeps the nftables table that masquerades packets that leave the cluster. */
import { log } from '../log.ts'
import { inside, Masquerade } from '../masquerade.ts'
import type { State } from '../state.ts'
import type { Part } from './part.ts'

export function masqueradePart(state: State): Part {
  const { options, nodes } = state
  const masquerade = new Masquerade()
  let cidrs: string[] = []
  let version = -1
  return {
    name: 'masquerade',
    everyMs: 5_000,
    run() {
      const { own } = state
      if (own === undefined) return
      if (version !== nodes.version) cidrs = inside(nodes.all, options.backend)
      version = nodes.version
      const on = options.masquerade && options.conflist && (state.config?.ipMasq ?? true) && own.podCIDRs.length > 0
      if (masquerade.apply(state.netfilter, own, cidrs, on)) log.info('masquerade programmed', { on })
    },
  }
}
