/**
 * A firewall that drops forwarded packets leaves pods without a network: it is reported, and opened
 * when the operator asks for that.
 */
import { chainName, cidrsOf, droppingChains, isOpen, openChain } from '../../link/forward-policy.ts'
import { log } from '../log.ts'
import type { State } from '../state.ts'
import type { Part } from './part.ts'

export function forwardPart(state: State): Part {
  const { options, netfilter, notifier } = state
  return {
    name: 'forward',
    everyMs: 10_000,
    run() {
      const podCIDRs = state.own?.podCIDRs ?? []
      if (!options.conflist || podCIDRs.length === 0) return
      const chains = droppingChains(netfilter).filter(chain => cidrsOf(chain, podCIDRs).length > 0)
      for (const chain of chains) {
        const changed = openChain(netfilter, chain, options.openForward ? podCIDRs : [])
        if (changed) log.info('firewall changed', { chain: chainName(chain), open: options.openForward })
      }
      const closed = chains.filter(chain => !isOpen(netfilter, chain)).map(chainName)
      const message = `the firewall drops what is forwarded, and so what pods send and get: the policy of ${closed.join(' and ')} is drop, and no rule there names tl*; allow it there, or start tunlinkd with --open-forward true`
      notifier.warnWhile('ForwardingDropped', closed.length > 0 ? message : undefined)
    },
  }
}
