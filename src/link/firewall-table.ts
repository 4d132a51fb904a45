/**
 * The table `inet tunlink`, as `nft list table inet tunlink` prints it:
 *
 *   set links { type ifname }       the node's ends of links, by exact name: an uplink may be tlan0
 *   set masq4 { type ipv4_addr }
 *   set masq6 { type ipv6_addr }    pod addresses that are masqueraded
 *   chain prerouting { type filter hook prerouting priority raw
 *     iifname != @links accept
 *     fib saddr . iif oif missing drop
 *     ip saddr 0.0.0.0/8 drop
 *     ip6 saddr :: drop }
 *   chain postrouting { type nat hook postrouting priority srcnat
 *     ip saddr @masq4 ip daddr != @masq4 oifname != @links masquerade      and the same for ip6 }
 *
 * A pod sends from its own addresses only. `fib` asks the routes as strict rp_filter does, for both
 * families: a packet is dropped unless its source is reached by the device that it came in by.
 * rp_filter itself is for the node's owner to choose, and knows no IPv6. The two other rules are
 * for what `fib` lets pass: broadcast and multicast from 0.0.0.0/8, and neighbour solicitation and
 * the like from "::" (nft_fib4_eval() and nft_fib6_eval() in the kernel).
 *
 * The chain postrouting comes with the first address that is masqueraded: a chain of type nat has
 * the kernel track every connection of the node, which costs a tenth of what the node can receive
 * in small packets. It stays when the last such address goes.
 *
 * The number of pods costs nothing: each packet is looked up once. A table of another version is
 * told by its rules, which are compared with these: see tableState().
 */
import { parseAddress } from '../address.ts'
import type { Request } from '../linux/netlink.ts'
import * as nft from '../linux/nfnetlink.ts'
import * as expr from '../linux/nft-expressions.ts'
import * as nftSets from '../linux/nft-sets.ts'
import { IFNAMSIZ } from '../linux/uapi.ts'

export const TABLE = 'tunlink'
export const LINKS = 'links'

/** What one link needs in the table. */
export interface FirewallEntry {
  /** The name of the node's end. */
  link: string
  /** Addresses of the pod, without prefix, that are masqueraded when they leave the node. */
  masquerade: string[]
}

export const SETS: Record<string, nftSets.KeyType> = { [LINKS]: nftSets.IFNAME, masq4: nftSets.IPV4_ADDR, masq6: nftSets.IPV6_ADDR }

/** Offsets of source and destination in the header: <linux/ip.h>, <linux/ipv6.h>. */
const IPV4 = { protocol: nft.NFPROTO_IPV4, source: 12, destination: 16, length: 4, set: 'masq4' }
const IPV6 = { protocol: nft.NFPROTO_IPV6, source: 8, destination: 24, length: 16, set: 'masq6' }

// NF_IP_PRI_RAW in <linux/netfilter_ipv4.h>: before connections are tracked, so that a forged
// packet leaves no trace
const RAW = -300
const SRCNAT = 100 // NF_IP_PRI_NAT_SRC

/**
 * The parts of the table by name, as bodies of nf_tables messages. `masquerades`: with the chain
 * postrouting.
 */
export function tableParts(masquerades: boolean, table = TABLE) {
  const chains = [CHAINS.prerouting, ...(masquerades ? [CHAINS.postrouting] : [])]
  return {
    table: nft.tableBody(table),
    sets: Object.entries(SETS).map(([name, type]) => ({ name, type, body: nftSets.setBody(table, name, type) })),
    chains: chains.map(({ name, type, hook, priority }) => ({ name, body: nft.chainBody(table, name, type, hook, priority) })),
    rules: chains.flatMap(({ name, rules }) => rules.map(rule => ({ chain: name, body: nft.ruleBody(table, name, ...rule) }))),
  }
}

/** True when one of the links needs the chain postrouting. */
export const masquerades = (entries: FirewallEntry[]): boolean => entries.some(({ masquerade }) => masquerade.length > 0)

const isFamily = (protocol: number) => [expr.meta(expr.NFT_META_NFPROTO), expr.cmp(expr.NFT_CMP_EQ, Buffer.from([protocol]))]

const acceptUnlessFromLink = [expr.meta(expr.NFT_META_IIFNAME), expr.lookup(LINKS, expr.NFT_LOOKUP_F_INV), expr.verdict(nft.NF_ACCEPT)]

const dropUnlessRouted = [expr.fibSaddrIif(), expr.cmp(expr.NFT_CMP_EQ, nft.be32(0)), expr.verdict(nft.NF_DROP)]

/** `start`: the first bytes of the source address. */
const dropFrom = (protocol: number, source: number, start: Buffer) => [
  ...isFamily(protocol),
  expr.payload(source, start.length),
  expr.cmp(expr.NFT_CMP_EQ, start),
  expr.verdict(nft.NF_DROP),
]

const masqueradeOf = ({ protocol, source, destination, length, set }: typeof IPV4) => [
  ...isFamily(protocol),
  expr.payload(source, length),
  expr.lookup(set),
  expr.payload(destination, length),
  expr.lookup(set, expr.NFT_LOOKUP_F_INV),
  expr.meta(expr.NFT_META_OIFNAME),
  expr.lookup(LINKS, expr.NFT_LOOKUP_F_INV),
  expr.masq(),
]

const CHAINS = {
  prerouting: {
    name: 'prerouting',
    type: 'filter',
    hook: nft.NF_INET_PRE_ROUTING,
    priority: RAW,
    rules: [
      acceptUnlessFromLink,
      dropUnlessRouted,
      dropFrom(IPV4.protocol, IPV4.source, Buffer.alloc(1)),
      dropFrom(IPV6.protocol, IPV6.source, Buffer.alloc(16)),
    ],
  },
  postrouting: {
    name: 'postrouting',
    type: 'nat',
    hook: nft.NF_INET_POST_ROUTING,
    priority: SRCNAT,
    rules: [masqueradeOf(IPV4), masqueradeOf(IPV6)],
  },
} as const

/** The messages that make the table, without elements, when it does not exist. */
export function newTableRequests(masquerades: boolean, table = TABLE): Request[] {
  const { sets, chains, rules } = tableParts(masquerades, table)
  return [
    { ...nft.newTable(table), doing: `make the table inet ${table}` },
    ...sets.map(({ name, type, body }, at) => ({ ...nftSets.newSet(body, type, at + 1), doing: `make the set "${name}"` })),
    ...chains.map(({ name, body }) => ({ ...nft.newChain(body), doing: `make the chain "${name}"` })),
    ...rules.map(({ chain, body }) => ({ ...nft.newRule(body), doing: `make a rule of the chain "${chain}"` })),
  ]
}

/** The messages that make the table anew, with the elements of `entries`, whatever exists. */
export const replaceTableRequests = (entries: FirewallEntry[]): Request[] => [
  nft.newTable(TABLE), // so that there is a table to delete
  nft.deleteTable(TABLE),
  ...newTableRequests(masquerades(entries)),
  ...elementRequests(nft.NFT_MSG_NEWSETELEM, elementsOf(entries)),
]

/** One element of the table's sets. */
export interface Element {
  set: string
  key: Buffer
  /** The name or address of the element. */
  of: string
}

/**
 * The elements for `entries`. Throws RangeError for an impossible device name, SyntaxError for text
 * that is not an address.
 */
export const elementsOf = (entries: FirewallEntry[]): Element[] =>
  entries.flatMap(({ link, masquerade }) => [linkElement(link), ...masquerade.map(addressElement)])

function linkElement(link: string): Element {
  const name = Buffer.from(link)
  if (name.length === 0 || name.length >= IFNAMSIZ)
    throw new RangeError(`Cannot use ${JSON.stringify(link)} as the name of a device: it must have 1 to ${IFNAMSIZ - 1} bytes`)
  const key = Buffer.alloc(IFNAMSIZ)
  name.copy(key)
  return { set: LINKS, key, of: link }
}

function addressElement(address: string): Element {
  const parsed = parseAddress(address)
  if (parsed === undefined) throw new SyntaxError(`Cannot parse address ${JSON.stringify(address)}`)
  return { set: parsed.family === 4 ? 'masq4' : 'masq6', key: parsed.bytes, of: address }
}

/**
 * The messages that add (NFT_MSG_NEWSETELEM) or delete (NFT_MSG_DELSETELEM) `elements`: of one set
 * in one message.
 */
export const elementRequests = (message: number, elements: Element[]): Request[] =>
  Object.keys(SETS).flatMap(set =>
    nftSets.setElements(
      message,
      TABLE,
      set,
      elements.filter(element => element.set === set),
    ),
  )
