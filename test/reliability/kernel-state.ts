/** What there is of links, as ip(8), nft(8) and the files say it. */
import { execFileSync, spawnSync } from 'node:child_process'
import { ip, type Lab } from '../support.ts'

/** Sorted elements of the sets of the table `inet tunlink`; empty where there is no table. */
export function nftElements(netns: string): Record<'links' | 'masq4' | 'masq6', string[]> {
  const elements = { links: [] as string[], masq4: [] as string[], masq6: [] as string[] }
  const { status, stdout } = spawnSync('ip', ['netns', 'exec', netns, 'nft', '-j', 'list', 'table', 'inet', 'tunlink'], {
    encoding: 'utf8',
  })
  if (status !== 0) return elements
  for (const { set } of JSON.parse(stdout).nftables as { set?: { name: keyof typeof elements; elem?: string[] } }[])
    if (set !== undefined) elements[set.name] = [...(set.elem ?? [])].sort()
  return elements
}

/** Names of the node's ends of links. */
export const nodeEnds = (lab: Lab): string[] =>
  lab
    .links(lab.node)
    .filter(name => name.startsWith('tl'))
    .sort()

/** Lines of a namespace's links but lo, for a comparison. */
export const linksOf = (netns: string): string[] =>
  ip(netns, 'link').flatMap(({ ifname }: { ifname: string }) => (ifname === 'lo' ? [] : ifname))

/** The files of leases and records below a network, without those of directories. */
export const filesOf = (lab: Lab, part: 'links' | 'ipam', network: string): string[] =>
  execFileSync('find', [`${lab.dataDir}/${part}/${network}`, '-type', 'f', '-printf', '%P\n'], { encoding: 'utf8' })
    .split('\n')
    .filter(Boolean)
    .sort()
