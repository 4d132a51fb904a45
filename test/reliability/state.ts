/**
 * What the kernel and the disk have of a lab: the same before and after whatever changes nothing.
 */
import { execFileSync, spawnSync } from 'node:child_process'
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

/** Every sysctl of the IP families and of the namespace's devices. */
const sysctlsOf = (netns: string): string =>
  // some cannot be read before they are written: grep then says 2
  spawnSync('ip', ['netns', 'exec', netns, 'grep', '-rs', '', '/proc/sys/net/ipv4/conf', '/proc/sys/net/ipv6/conf'], {
    encoding: 'utf8',
  }).stdout

export const stateOf = (lab: Lab, ...pods: string[]) => ({
  namespaces: [lab.node, ...pods].map(networkOf),
  rules: rulesOf(lab.node),
  sysctls: [lab.node, ...pods].map(sysctlsOf),
  files: lab.files().sort(),
})

/**
 * The state without what the first link turns on for all of a node: forwarding, and the tables. The
 * pods' own settings stay in it.
 */
export const withoutNode = ({ rules, sysctls, ...rest }: ReturnType<typeof stateOf>) => ({ ...rest, sysctls: sysctls.slice(1) })
