/**
 * Keeps the table `inet tunlink` in the kernel: adds and removes what each link needs, and restores
 * what others have removed.
 */
import { holds } from '../linux/attribute-list.ts'
import { attribute, NetlinkSocket, text } from '../linux/netlink.ts'
import { watchTable } from '../linux/nf-watch.ts'
import * as nft from '../linux/nfnetlink.ts'
import * as nftSets from '../linux/nft-sets.ts'
import { NETLINK_NETFILTER } from '../linux/uapi.ts'
import {
  type Element,
  elementRequests,
  elementsOf,
  type FirewallEntry,
  LINKS,
  masquerades,
  newTableRequests,
  replaceTableRequests,
  SETS,
  TABLE,
  tableParts,
} from './firewall-table.ts'

export type { FirewallEntry } from './firewall-table.ts'

/**
 * How often a restoration is tried again because somebody changed nf_tables meanwhile. With sixteen
 * processes at once a few tries are needed.
 */
const ATTEMPTS = 50

/**
 * Equivalent to: nft add element inet tunlink links { LINK }, and masq4, masq6. It takes one query,
 * of the rules, and one transaction. When a rule or set is missing or different, as in a flushed or
 * an older table, the whole table is made anew from `all` and `entry`. `all` returns the entries of
 * all records, and is called only then; the record of `entry` must be written before. Other faults
 * of chains and sets are left to ensureFirewall(). Throws NetlinkError, or an error with its code.
 */
export function addToFirewall(netfilter: NetlinkSocket, entry: FirewallEntry, all: () => FirewallEntry[]): void {
  const requests = nft.transaction(elementRequests(nft.NFT_MSG_NEWSETELEM, elementsOf([entry])))
  const whole = () => [...all().filter(({ link }) => link !== entry.link), entry]
  const needsChain = masquerades([entry])
  repeatedly(() => (wrongRules(netfilter, needsChain).length === 0 && attempted(netfilter, requests)) || restored(netfilter, whole))
}

/**
 * Equivalent to: nft delete element ... A missing element is not an error. When the table is
 * missing or different, it is made anew from `all` without `entry`, unless it is missing and no
 * other link needs it. An empty table stays. Throws as addToFirewall().
 */
export function removeFromFirewall(netfilter: NetlinkSocket, entry: FirewallEntry, all: () => FirewallEntry[]): void {
  const elements = elementsOf([entry])
  // Added first, so that each exists: nf_tables refuses a transaction that deletes a missing
  // element.
  const both = [nft.NFT_MSG_NEWSETELEM, nft.NFT_MSG_DELSETELEM].flatMap(message => elementRequests(message, elements))
  const requests = nft.transaction(both)
  const others = () => all().filter(({ link }) => link !== entry.link)
  let needsChain = masquerades([entry])
  repeatedly(() => {
    if (wrongRules(netfilter, needsChain).length === 0 && attempted(netfilter, requests)) return true
    needsChain = masquerades(others())
    return (tableState(netfilter, false) === 'missing' && others().length === 0) || restored(netfilter, others)
  })
}

/**
 * Makes the table what it should be, with the entries of `all`. True when something had to change.
 * Elements without an entry stay: another process may be about to write its record. Without entries
 * a missing table is not made, but a different one is made anew.
 */
export function ensureFirewall(netfilter: NetlinkSocket, all: () => FirewallEntry[]): boolean {
  let changed = false
  repeatedly(() => {
    // Read before the records: then a link that is removed meanwhile is noticed, and not restored.
    const generation = nft.generation(netfilter)
    const state = tableState(netfilter, masquerades(all()))
    if (state === 'missing' && all().length === 0) return true
    if (state !== 'ok') {
      changed = restored(netfilter, all)
      return changed
    }
    const missing = ignoringMissing(() => missingElements(netfilter, elementsOf(all())))
    if (missing === undefined) return false // the table was deleted meanwhile
    if (missing.length === 0) return true
    changed = attempted(netfilter, nft.transaction(elementRequests(nft.NFT_MSG_NEWSETELEM, missing), generation))
    return changed
  })
  return changed
}

/**
 * The faults of the table, and of `entry` in it, as sentences without full stop; an empty list when
 * there is none.
 */
export function firewallFaults(netfilter: NetlinkSocket, entry: FirewallEntry): string[] {
  const faults = tableFaults(netfilter, masquerades([entry]))
  for (const { set, key, of } of elementsOf([entry])) {
    if (has(netfilter, set, key)) continue
    const lack = set === LINKS ? `the source addresses of what comes in by "${of}" are not checked` : `${of} is not masqueraded`
    faults.push(`${lack}: it is not in the set "${set}" of the nftables table inet ${TABLE}`)
  }
  return faults
}

/**
 * Compares chains, sets and rules with ours, their order too. 'different' is an older version's
 * table, or one where somebody added, changed or removed a rule, or changed a chain or set. Does
 * not see chains and sets that somebody added: they change nothing of ours. `needsChain`: without
 * the chain postrouting it is different; otherwise that may be there or not.
 */
export function tableState(netfilter: NetlinkSocket, needsChain: boolean): 'ok' | 'missing' | 'different' {
  const faults = tableFaults(netfilter, needsChain)
  return faults.length === 0 ? 'ok' : faults[0] === MISSING ? 'missing' : 'different'
}

const MISSING = `the nftables table inet ${TABLE} is missing`

function tableFaults(netfilter: NetlinkSocket, needsChain: boolean): string[] {
  const nameOfTable = attribute(nft.NFTA_ANY_TABLE, text(TABLE))
  const found = answer(netfilter, nft.NFT_MSG_GETTABLE, nameOfTable)
  if (found === undefined) return [MISSING]
  const hasChain = answer(netfilter, nft.NFT_MSG_GETCHAIN, nameOfTable, attribute(nft.NFTA_CHAIN_NAME, text('postrouting'))) !== undefined
  const { table, sets, chains } = parts(needsChain || hasChain)
  const faults: string[] = []
  if (!holds(table, found)) faults.push(`the nftables table inet ${TABLE} is switched off (dormant)`)
  for (const { kind, message, nameType, parts } of [
    { kind: 'set', message: nft.NFT_MSG_GETSET, nameType: nftSets.NFTA_SET_NAME, parts: sets },
    { kind: 'chain', message: nft.NFT_MSG_GETCHAIN, nameType: nft.NFTA_CHAIN_NAME, parts: chains },
  ]) {
    for (const { name, body } of parts) {
      const part = answer(netfilter, message, nameOfTable, attribute(nameType, text(name)))
      if (part === undefined) faults.push(`the ${kind} "${name}" of the nftables table inet ${TABLE} is missing`)
      else if (!holds(body, part)) faults.push(`the ${kind} "${name}" of the nftables table inet ${TABLE} was changed`)
    }
  }
  for (const chain of wrongRules(netfilter, needsChain || hasChain))
    faults.push(`the rules of the chain "${chain}" of the nftables table inet ${TABLE} were changed`)
  return faults
}

/** Our chains whose rules differ from ours; all of them when the table is missing. */
function wrongRules(netfilter: NetlinkSocket, needsChain: boolean): string[] {
  const present = nft.rules(netfilter, TABLE)
  const isWhole = needsChain || present.some(rule => nft.chainOf(rule) === 'postrouting')
  const bytes = Buffer.concat(present)
  if (knownRight.get(isWhole)?.equals(bytes)) return []
  const { chains, rules } = parts(isWhole)
  const wrong = chains
    .map(({ name }) => name)
    .filter(name => {
      const have = present.filter(rule => nft.chainOf(rule) === name)
      const want = rules.filter(({ chain }) => chain === name)
      return have.length !== want.length || !want.every(({ body }, at) => holds(body, have[at]!))
    })
  if (wrong.length === 0) knownRight.set(isWhole, bytes)
  return wrong
}

/**
 * The kernel's last answer that was found right, with and without the chain postrouting: comparing
 * each rule takes four times as long as asking for all (0.12 ms and 0.03 ms).
 */
const knownRight = new Map<boolean, Buffer>()

const made = new Map<boolean, ReturnType<typeof tableParts>>()

/** Made once, when it is first needed. */
function parts(needsChain: boolean) {
  const known = made.get(needsChain) ?? tableParts(needsChain)
  made.set(needsChain, known)
  return known
}

/**
 * Equivalent to: nft delete table inet tunlink. A missing table is not an error. Throws
 * NetlinkError.
 */
export function deleteFirewall(netfilter: NetlinkSocket): void {
  ignoringMissing(() => netfilter.requestBatch(nft.transaction([nft.deleteTable(TABLE)])))
}

/**
 * Why the table cannot be made in this network namespace, in words; undefined when it can. The
 * kernel tries every part of it and carries out none. Loads the modules that it needs.
 * `needsChain`: with the chain postrouting.
 */
export function firewallRefusal(needsChain: boolean): string | undefined {
  try {
    using netfilter = new NetlinkSocket(NETLINK_NETFILTER)
    netfilter.requestBatch(nft.rehearsal(newTableRequests(needsChain, `${TABLE}-rehearsal`)))
    return undefined
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    return `nf_tables: ${message}${HINTS[code ?? ''] ?? ''}`
  }
}

const HINTS: Record<string, string> = {
  EPERM: ': CAP_NET_ADMIN is needed',
  EPROTONOSUPPORT: ': the kernel has no nfnetlink (CONFIG_NETFILTER_NETLINK)',
  EOPNOTSUPP: ': the kernel lacks this part of nf_tables (CONFIG_NF_TABLES_INET, CONFIG_NFT_NAT)',
  ENOENT: ': the kernel lacks an expression of it (CONFIG_NFT_FIB_INET, CONFIG_NFT_MASQ), or the module is not loaded',
}

/**
 * Calls `onChange` when somebody deletes, flushes or replaces the table or parts of it, except
 * elements; see watchTable().
 */
export const watchFirewall = (onChange: () => void): Disposable => watchTable(TABLE, onChange)

/**
 * Makes the table anew, unless it is right; false when somebody changed nf_tables meanwhile, and
 * may have made it.
 */
function restored(netfilter: NetlinkSocket, all: () => FirewallEntry[]): boolean {
  // Read before the records: a record is written before its elements are added, so a transaction in
  // between is noticed.
  const generation = nft.generation(netfilter)
  const entries = all()
  if (tableState(netfilter, masquerades(entries)) === 'ok') return false
  try {
    netfilter.requestBatch(nft.transaction(replaceTableRequests(entries), generation))
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERESTART') throw error
    return false
  }
}

/**
 * True when the transaction succeeded; false when it was refused because the table is not ours, or
 * was not a moment ago.
 */
function attempted(netfilter: NetlinkSocket, requests: ReturnType<typeof nft.transaction>): boolean {
  try {
    netfilter.requestBatch(requests)
    return true
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ERESTART') return false
    if (code !== 'ENOENT' && tableState(netfilter, false) === 'ok') throw error
    return false
  }
}

function repeatedly(isDone: () => boolean): void {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) if (isDone()) return
  throw Object.assign(new Error(`Cannot restore the nftables table inet ${TABLE}: others changed nf_tables ${ATTEMPTS} times meanwhile`), {
    code: 'EAGAIN',
  })
}

function missingElements(netfilter: NetlinkSocket, wanted: Element[]): Element[] {
  const present = new Set(Object.keys(SETS).flatMap(set => nftSets.keys(netfilter, TABLE, set).map(key => `${set} ${key.toString('hex')}`)))
  return wanted.filter(({ set, key }) => !present.has(`${set} ${key.toString('hex')}`))
}

function has(netfilter: NetlinkSocket, set: string, key: Buffer): boolean {
  return ignoringMissing(() => nftSets.hasElement(netfilter, TABLE, set, key)) ?? false
}

const answer = (netfilter: NetlinkSocket, message: number, ...names: Buffer[]) =>
  ignoringMissing(() => nft.query(netfilter, message, 0, ...names)[0])

/** undefined when the kernel answered ENOENT. */
function ignoringMissing<T>(body: () => T): T | undefined {
  try {
    return body()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    return undefined
  }
}
