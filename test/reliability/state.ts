/**
 * What the kernel and the disk have of a lab: the same before and after whatever changes nothing.
 */
import { execFileSync } from 'node:child_process'
import { ip, type Lab } from '../support.ts'

/**
 * Links, addresses and routes of a namespace, without counters and what the kernel itself renews.
 */
function networkOf(netns: string): unknown {
  const links = (ip(netns, 'address') as { ifname: string; operstate: string; mtu: number; addr_info: { local: string }[] }[]).map(
    ({ ifname, mtu, addr_info }) => [ifname, mtu, addr_info.map(({ local }) => local)],
  )
  const routes = ['-4', '-6'].map(family => ip(netns, family, 'route', 'show', 'table', 'all'))
  return { links, routes }
}

/** nft's own text of all tables: without handles and counters. */
const rulesOf = (netns: string): string =>
  execFileSync('ip', ['netns', 'exec', netns, 'nft', '-s', 'list', 'ruleset'], { encoding: 'utf8' })

export const stateOf = (lab: Lab, ...pods: string[]) => ({
  namespaces: [lab.node, ...pods].map(networkOf),
  rules: rulesOf(lab.node),
  files: lab.files().sort(),
})
