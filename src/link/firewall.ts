/**
 * The node's firewall for links, the table `inet tunlink`, as `nft list table inet tunlink` prints it:
 *
 *   set links { type ifname }                                          the exact names of the node's ends
 *   set masq4 { type ipv4_addr }   set masq6 { type ipv6_addr }        pod addresses that are masqueraded
 *   chain prerouting {                                                 the source check: a pod sends from its own addresses only
 *     iifname @links ip saddr 0.0.0.0 drop
 *     iifname @links ip6 saddr :: drop
 *     iifname @links fib saddr . iif oif missing drop }                no route leads back to the source by the link that it came by
 *   chain postrouting {
 *     ip saddr @masq4 ip daddr != @masq4 oifname != @links masquerade }   and the same for ip6
 *
 * The rules never change with the pods, so their number costs nothing. Each carries RULES in its comment: by that a table of another version, or
 * one that somebody has changed, is told from ours. (A rule replaced by one with the same comment is not seen.)
 */
import { familyOf, parseAddress } from '../address.ts'
import { attribute, NetlinkSocket, type Request, text } from '../linux/netlink.ts'
import { inNewNetns } from '../linux/netns.ts'
import * as nft from '../linux/nfnetlink.ts'
import { IFNAMSIZ, NETLINK_NETFILTER, NLM_F_CREATE } from '../linux/uapi.ts'

export const FIREWALL_TABLE = 'tunlink'
const TABLE = FIREWALL_TABLE
const LINKS = 'links'
/** To be changed with every change of the rules. */
const RULES = 'tunlink rules 2'
const RAW_PRIORITY = -300 // before connection tracking
const SRCNAT_PRIORITY = 100
const name = attribute(nft.NFTA_TABLE_NAME, text(TABLE))

/** What one link has in the table. */
export interface FirewallEntry {
  /** Name of the node's end. */
  link: string
  /** Addresses that are masqueraded where they leave the node. */
  masquerade: string[]
}

/**
 * Adds a link. Where the table is missing or not as it should be (somebody has flushed it, it is of another version), it is made anew with the
 * entries of `all`, which are those on record, and this one. Throws NetlinkError.
 */
export function addToFirewall(netfilter: NetlinkSocket, entry: FirewallEntry, all: () => FirewallEntry[]): void {
  if (tableState(netfilter) === 'ok' && unlessMissing(() => change(netfilter, nft.NFT_MSG_NEWSETELEM, [entry]))) return
  restore(netfilter, () => [...all(), entry])
}

/** Removes a link. An element that is missing is no error; a table that is missing is restored for the links of `all`, if there are any. */
export function removeFromFirewall(netfilter: NetlinkSocket, entry: FirewallEntry, all: () => FirewallEntry[]): void {
  if (tableState(netfilter) !== 'ok') {
    if (all().length > 0) restore(netfilter, all)
    return
  }
  if (unlessMissing(() => change(netfilter, nft.NFT_MSG_DELSETELEM, [entry]))) return
  // One of them was missing, so none was removed.
  for (const { set, key } of elementsOf(entry))
    unlessMissing(() => netfilter.requestBatch(nft.transaction(nft.setElements(nft.NFT_MSG_DELSETELEM, TABLE, set, [key]))))
}

/** Restores what is missing of the table, or of its elements for `all`; true when something was. */
export function ensureFirewall(netfilter: NetlinkSocket, all: () => FirewallEntry[]): boolean {
  if (tableState(netfilter) !== 'ok') {
    restore(netfilter, all)
    return true
  }
  const missing = all().filter(entry => missingOf(netfilter, entry).length > 0)
  if (missing.length > 0) change(netfilter, nft.NFT_MSG_NEWSETELEM, missing)
  return missing.length > 0
}

/** What CHECK finds wrong for a link, each a sentence. */
export function firewallFaults(netfilter: NetlinkSocket, entry: FirewallEntry): string[] {
  const state = tableState(netfilter)
  if (state === 'missing') return [`the nftables table inet ${TABLE} is missing: no source check, no masquerade`]
  if (state === 'changed') return [`the nftables table inet ${TABLE} has other rules than tunlink's`]
  return missingOf(netfilter, entry).map(({ set, what }) =>
    set === LINKS
      ? `the source check of ${what} is off: it is not in the nftables set inet ${TABLE} ${LINKS}`
      : `masquerade of ${what} is off: it is not in the nftables set inet ${TABLE} ${set}`,
  )
}

/** nft delete table inet tunlink, if it is there. */
export function deleteFirewall(netfilter: NetlinkSocket): void {
  unlessMissing(() => netfilter.requestBatch(nft.transaction([nft.nftRequest(nft.NFT_MSG_DELTABLE, 0, name)])))
}

/** Why the table cannot be made here, in the kernel's words; undefined when it can. It is made, where nobody sees it. */
export function firewallRefusal(): string | undefined {
  try {
    inNewNetns(() => {
      using netfilter = new NetlinkSocket(NETLINK_NETFILTER)
      netfilter.requestBatch(tableTransaction([]))
    })
    return undefined
  } catch (error) {
    return (error as Error).message
  }
}

/** By the rules' comments: see above. */
function tableState(netfilter: NetlinkSocket): 'ok' | 'missing' | 'changed' {
  let rules: ReturnType<typeof nft.ruleList> = []
  unlessMissing(() => {
    rules = nft.ruleList(netfilter, TABLE)
  })
  if (rules.length === 0) return tableIsThere(netfilter) ? 'changed' : 'missing'
  const found = rules.map(({ chain, comment }) => `${chain} ${comment}`).sort()
  return found.join() === EXPECTED.join() ? 'ok' : 'changed'
}

const tableIsThere = (netfilter: NetlinkSocket) =>
  unlessMissing(() => void netfilter.get(nft.nftType(nft.NFT_MSG_GETTABLE), 0, nft.nftHeader(), name))

/**
 * The records may change while they are read: another process adds a link to the old table, which then goes. So they are read again until nothing
 * is missing.
 */
function restore(netfilter: NetlinkSocket, all: () => FirewallEntry[]): void {
  netfilter.requestBatch(tableTransaction(all()))
  const missing = all().filter(entry => missingOf(netfilter, entry).length > 0)
  if (missing.length > 0) change(netfilter, nft.NFT_MSG_NEWSETELEM, missing)
}

function change(netfilter: NetlinkSocket, message: number, entries: FirewallEntry[]): void {
  netfilter.requestBatch(nft.transaction(elementRequests(message, entries)))
}

/** One link's elements: `what` is for people. */
function elementsOf({ link, masquerade }: FirewallEntry): { set: string; key: Buffer; what: string }[] {
  const key = Buffer.alloc(IFNAMSIZ)
  key.write(link)
  return [
    { set: LINKS, key, what: link },
    ...masquerade.map(address => ({ set: `masq${familyOf(address)}`, key: parseAddress(address)!.bytes, what: address })),
  ]
}

function elementRequests(message: number, entries: FirewallEntry[]): Request[] {
  const elements = entries.flatMap(elementsOf)
  return [LINKS, 'masq4', 'masq6'].flatMap(set =>
    nft.setElements(
      message,
      TABLE,
      set,
      elements.filter(element => element.set === set).map(({ key }) => key),
    ),
  )
}

/** Elements of the link that its sets lack; all of them where a set is missing. */
function missingOf(netfilter: NetlinkSocket, entry: FirewallEntry): ReturnType<typeof elementsOf> {
  const elements = elementsOf(entry)
  const sets = new Set(elements.map(({ set }) => set))
  const present = new Map([...sets].map(set => [set, keysOf(netfilter, set)]))
  return elements.filter(({ set, key }) => !present.get(set)!.has(key.toString('hex')))
}

function keysOf(netfilter: NetlinkSocket, set: string): Set<string> {
  let keys: Buffer[] = []
  unlessMissing(() => {
    keys = nft.elementList(netfilter, TABLE, set)
  })
  return new Set(keys.map(key => key.toString('hex')))
}

/** The messages that make the table anew, with these links. */
export function tableTransaction(entries: FirewallEntry[]): Request[] {
  const newTable = nft.nftRequest(nft.NFT_MSG_NEWTABLE, NLM_F_CREATE, name)
  return nft.transaction([
    newTable, // so that there is one to delete
    nft.nftRequest(nft.NFT_MSG_DELTABLE, 0, name),
    newTable,
    nft.newSet(TABLE, LINKS, nft.IFNAME, 1),
    nft.newSet(TABLE, 'masq4', nft.IPV4_ADDR, 2),
    nft.newSet(TABLE, 'masq6', nft.IPV6_ADDR, 3),
    nft.newChain(TABLE, 'prerouting', 'filter', nft.NF_INET_PRE_ROUTING, RAW_PRIORITY),
    nft.newChain(TABLE, 'postrouting', 'nat', nft.NF_INET_POST_ROUTING, SRCNAT_PRIORITY),
    ...RULE_LIST.map(({ chain, expressions }) => nft.newCommentedRule(TABLE, chain, RULES, ...expressions)),
    ...elementRequests(nft.NFT_MSG_NEWSETELEM, uniqueByLink(entries)),
  ])
}

const uniqueByLink = (entries: FirewallEntry[]) => [...new Map(entries.map(entry => [entry.link, entry])).values()]

/** Where a family's addresses are in its header, and how long they are. */
const IPV4 = { protocol: nft.NFPROTO_IPV4, source: 12, destination: 16, length: 4, set: 'masq4' }
const IPV6 = { protocol: nft.NFPROTO_IPV6, source: 8, destination: 24, length: 16, set: 'masq6' }
type Layout = typeof IPV4

const isFamily = ({ protocol }: Layout) => [nft.meta(nft.NFT_META_NFPROTO), nft.cmp(nft.NFT_CMP_EQ, Buffer.from([protocol]))]
const fromLink = [nft.meta(nft.NFT_META_IIFNAME), nft.lookup(LINKS)]

const dropUnspecified = (layout: Layout) => [
  ...fromLink,
  ...isFamily(layout),
  nft.payload(layout.source, layout.length),
  nft.cmp(nft.NFT_CMP_EQ, Buffer.alloc(layout.length)),
  nft.drop(),
]
const masqueradeOutside = (layout: Layout) => [
  ...isFamily(layout),
  nft.payload(layout.source, layout.length),
  nft.lookup(layout.set),
  nft.payload(layout.destination, layout.length),
  nft.lookup(layout.set, nft.NFT_LOOKUP_F_INV),
  nft.meta(nft.NFT_META_OIFNAME),
  nft.lookup(LINKS, nft.NFT_LOOKUP_F_INV),
  nft.masq(),
]

const RULE_LIST: { chain: string; expressions: Buffer[] }[] = [
  { chain: 'prerouting', expressions: dropUnspecified(IPV4) },
  { chain: 'prerouting', expressions: dropUnspecified(IPV6) },
  { chain: 'prerouting', expressions: [...fromLink, nft.fibSaddrIif(), nft.cmp(nft.NFT_CMP_EQ, nft.be32(0)), nft.drop()] },
  { chain: 'postrouting', expressions: masqueradeOutside(IPV4) },
  { chain: 'postrouting', expressions: masqueradeOutside(IPV6) },
]
const EXPECTED = RULE_LIST.map(({ chain }) => `${chain} ${RULES}`).sort()

/** True when `body` ran through, false when the kernel said that the table, or something of it, is not there. */
function unlessMissing(body: () => void): boolean {
  try {
    body()
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    return false
  }
}
