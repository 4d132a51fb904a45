/**
 * The table `inet tunlink-cluster`, as `nft list table inet tunlink-cluster` prints it:
 *
 *   set inside4 { type ipv4_addr; flags interval }      where pods are met unchanged
 *   set inside6 { type ipv6_addr; flags interval }
 *   chain postrouting { type nat hook postrouting priority srcnat
 *     ip saddr POD_CIDR ip daddr != @inside4 masquerade fully-random         and the same for ip6 }
 *
 * Replaced whole, in one transaction, whenever the cluster's networks change; connections keep the
 * translation they began with.
 */
import { bits, maskOf, networkSize, parseCidr, toBytes, toNumber } from '../address.ts'
import type { NetlinkSocket, Request } from '../linux/netlink.ts'
import * as nft from '../linux/nfnetlink.ts'
import * as expr from '../linux/nft-expressions.ts'
import * as nftSets from '../linux/nft-sets.ts'

const TABLE = 'tunlink-cluster'

const SRCNAT = 100 // NF_IP_PRI_NAT_SRC in <linux/netfilter_ipv4.h>

/**
 * The rules and the networks that the kernel has: the same bytes are the same table. undefined when
 * there is none.
 */
export function clusterTable(netfilter: NetlinkSocket): Buffer | undefined {
  try {
    const networks = FAMILIES.flatMap(({ set }) => nftSets.keys(netfilter, TABLE, set))
    return Buffer.concat([...nft.rules(netfilter, TABLE), ...networks])
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    return undefined
  }
}

/**
 * Makes or replaces the table: packets from `podCIDRs` to destinations outside of `inside` are
 * masqueraded. All in CIDR notation.
 */
export function setClusterTable(netfilter: NetlinkSocket, podCIDRs: string[], inside: string[]): void {
  netfilter.requestBatch(clusterTransaction(podCIDRs, inside))
}

/** Equivalent to: nft delete table inet tunlink-cluster. True when it existed. */
export function deleteClusterTable(netfilter: NetlinkSocket): boolean {
  try {
    netfilter.requestBatch(nft.transaction([nft.deleteTable(TABLE)]))
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    return false
  }
}

/** The messages that make the table. */
export function clusterTransaction(podCIDRs: string[], inside: string[]): Request[] {
  return nft.transaction([
    nft.newTable(TABLE), // so that there is a table to delete
    nft.deleteTable(TABLE),
    nft.newTable(TABLE),
    nft.newChain(nft.chainBody(TABLE, 'postrouting', 'nat', nft.NF_INET_POST_ROUTING, SRCNAT)),
    ...FAMILIES.flatMap(({ family, set, type }) => [
      nftSets.newSet(nftSets.setBody(TABLE, set, type, nftSets.NFT_SET_INTERVAL), type, family),
      ...nftSets.setElements(nft.NFT_MSG_NEWSETELEM, TABLE, set, intervals(inside, family).flatMap(elementsOf)),
      ...podCIDRs.map(parse).flatMap(cidr => (cidr.family === family ? [masqueradeRule(cidr)] : [])),
    ]),
  ])
}

const IPV4 = { family: 4, set: 'inside4', type: nftSets.IPV4_ADDR, protocol: nft.NFPROTO_IPV4, source: 12, destination: 16 } as const
const IPV6 = { family: 6, set: 'inside6', type: nftSets.IPV6_ADDR, protocol: nft.NFPROTO_IPV6, source: 8, destination: 24 } as const
const FAMILIES = [IPV4, IPV6]

function masqueradeRule({ family, bytes, prefix }: ReturnType<typeof parse>): Request {
  const { set, protocol, source, destination } = family === 4 ? IPV4 : IPV6
  return nft.newRule(
    nft.ruleBody(
      TABLE,
      'postrouting',
      expr.meta(expr.NFT_META_NFPROTO),
      expr.cmp(expr.NFT_CMP_EQ, Buffer.from([protocol])),
      expr.payload(source, bytes.length),
      expr.bitwise(maskOf(family, prefix)),
      expr.cmp(expr.NFT_CMP_EQ, bytes),
      expr.payload(destination, bytes.length),
      expr.lookup(set, expr.NFT_LOOKUP_F_INV),
      expr.masq(expr.NF_NAT_RANGE_PROTO_RANDOM_FULLY),
    ),
  )
}

/** An interval is its first address, and the first address behind it, if any, flagged as an end. */
const elementsOf = ({ first, end }: { first: Buffer; end?: Buffer }): nftSets.SetElement[] => [
  { key: first },
  ...(end === undefined ? [] : [{ key: end, flags: nftSets.NFT_SET_ELEM_INTERVAL_END }]),
]

/**
 * The networks of one family as disjoint intervals in ascending order, which is all that the kernel
 * takes. `end` is exclusive.
 */
export function intervals(cidrs: string[], family: 4 | 6): { first: Buffer; end?: Buffer }[] {
  const limit = 1n << BigInt(bits(family))
  const ranges = cidrs
    .map(parse)
    .filter(cidr => cidr.family === family)
    .map(({ bytes, prefix }) => {
      const size = networkSize(family, prefix)
      const first = (toNumber(bytes) / size) * size
      return { first, end: first + size }
    })
    .sort((a, b) => (a.first < b.first ? -1 : 1))
  const merged: typeof ranges = []
  for (const range of ranges) {
    const last = merged.at(-1)
    if (last === undefined || range.first > last.end) merged.push({ ...range })
    else if (range.end > last.end) last.end = range.end
  }
  return merged.map(({ first, end }) => ({ first: toBytes(first, family), ...(end < limit ? { end: toBytes(end, family) } : {}) }))
}

function parse(text: string) {
  const cidr = parseCidr(text)
  if (cidr === undefined) throw new SyntaxError(`Cannot parse network "${text}"`)
  return cidr
}
