/**
 * nf_tables over netlink: <linux/netfilter/nf_tables.h>. Integers inside attributes are big-endian,
 * unlike netlink's own.
 */
import { attribute, attributes, type NetlinkSocket, nested, type Request, text } from './netlink.ts'
import { struct, u8, u16 } from './struct.ts'
import { NLA_F_NESTED, NLA_TYPE_MASK, NLM_F_CREATE, NLM_F_DUMP, nlattr } from './uapi.ts'

// <linux/netfilter/nfnetlink.h>
export const NFNLGRP_NFTABLES = 7
const NFNL_SUBSYS_NFTABLES = 10
const NFNL_MSG_BATCH_BEGIN = 0x10
const NFNL_MSG_BATCH_END = 0x11
const NFNL_BATCH_GENID = 1
export const nfgenmsg = struct({ family: u8, version: u8, res_id: u16 })

// <linux/netfilter.h>
export const NFPROTO_UNSPEC = 0
export const NFPROTO_INET = 1
export const NFPROTO_IPV4 = 2
export const NFPROTO_IPV6 = 10
export const NF_INET_PRE_ROUTING = 0
export const NF_INET_FORWARD = 2
export const NF_INET_POST_ROUTING = 4
export const NF_DROP = 0
export const NF_ACCEPT = 1

// <linux/netlink.h>
const NLM_F_APPEND = 0x800

// <linux/netfilter/nf_tables.h>
export const NFT_MSG_NEWTABLE = 0
export const NFT_MSG_GETTABLE = 1
export const NFT_MSG_DELTABLE = 2
export const NFT_MSG_NEWCHAIN = 3
export const NFT_MSG_GETCHAIN = 4
export const NFT_MSG_NEWRULE = 6
export const NFT_MSG_GETRULE = 7
export const NFT_MSG_DELRULE = 8
export const NFT_MSG_NEWSET = 9
export const NFT_MSG_GETSET = 10
export const NFT_MSG_NEWSETELEM = 12
export const NFT_MSG_GETSETELEM = 13
export const NFT_MSG_DELSETELEM = 14
export const NFT_MSG_NEWGEN = 15
const NFT_MSG_GETGEN = 16
export const NFTA_LIST_ELEM = 1
const NFTA_HOOK_HOOKNUM = 1
const NFTA_HOOK_PRIORITY = 2
const NFTA_TABLE_NAME = 1
const NFTA_TABLE_FLAGS = 2
const NFTA_CHAIN_TABLE = 1
export const NFTA_CHAIN_NAME = 3
const NFTA_CHAIN_HOOK = 4
const NFTA_CHAIN_POLICY = 5
const NFTA_CHAIN_TYPE = 7
const NFTA_RULE_TABLE = 1
const NFTA_RULE_CHAIN = 2
const NFTA_RULE_EXPRESSIONS = 4
export const NFT_SET_INTERVAL = 0x4
const NFTA_SET_TABLE = 1
export const NFTA_SET_NAME = 2
const NFTA_SET_FLAGS = 3
const NFTA_SET_KEY_TYPE = 4
const NFTA_SET_KEY_LEN = 5
const NFTA_SET_ID = 10
const NFTA_SET_USERDATA = 13
export const NFT_SET_ELEM_INTERVAL_END = 0x1
const NFTA_SET_ELEM_KEY = 1
const NFTA_SET_ELEM_FLAGS = 3
const NFTA_SET_ELEM_LIST_TABLE = 1
const NFTA_SET_ELEM_LIST_SET = 2
const NFTA_SET_ELEM_LIST_ELEMENTS = 3
export const NFTA_DATA_VALUE = 1
const NFTA_GEN_ID = 1

/** Every notification begins its attributes with the name of the table. */
export const NFTA_ANY_TABLE = 1

/**
 * Types of set keys. The kernel keeps `number` and `byteorder` for nft alone, which prints elements
 * by them: nftables' enum datatypes (include/datatype.h), and libnftnl's
 * NFTNL_UDATA_SET_KEYBYTEORDER, 1 for the host's order and 2 for big-endian.
 */
export interface KeyType {
  number: number
  /** Bytes. */
  length: number
  byteorder: 1 | 2
}
export const IPV4_ADDR: KeyType = { number: 7, length: 4, byteorder: 2 }
export const IPV6_ADDR: KeyType = { number: 8, length: 16, byteorder: 2 }
export const IFNAME: KeyType = { number: 41, length: 16, byteorder: 1 }

export const be32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value | 0)
  return bytes
}

/** The type of an nf_tables message. */
export const nftType = (message: number) => (NFNL_SUBSYS_NFTABLES << 8) | message

/** The header of an nf_tables message, of the inet family unless given. */
export const nftHeader = (family = NFPROTO_INET) => nfgenmsg.encode({ family })

/** One nf_tables message of the inet family: `message` an NFT_MSG_ constant. */
export const nftRequest = (message: number, flags: number, ...body: Buffer[]): Request => ({
  type: nftType(message),
  flags,
  body: [nftHeader(), ...body],
})

/**
 * All of `requests` or none: what nf_tables calls a transaction. With `generation`, refused with
 * ERESTART when anybody has changed any table since that generation().
 */
export function transaction(requests: Request[], generation?: number): Request[] {
  const condition = generation === undefined ? [] : [attribute(NFNL_BATCH_GENID, be32(generation))]
  return [bracket(NFNL_MSG_BATCH_BEGIN, ...condition), ...requests, bracket(NFNL_MSG_BATCH_END)]
}

/**
 * nft --check: the kernel looks at all of `requests` and answers, but carries out none, for no end
 * of the transaction follows.
 */
export const rehearsal = (requests: Request[]): Request[] => [bracket(NFNL_MSG_BATCH_BEGIN), ...requests]

const bracket = (type: number, ...body: Buffer[]): Request => ({
  type,
  flags: 0,
  silent: true,
  body: [nfgenmsg.encode({ res_id: NFNL_SUBSYS_NFTABLES << 8 }), ...body],
})

/** The number of the last transaction of this network namespace, anybody's. */
export function generation(netfilter: NetlinkSocket): number {
  const [reply] = query(netfilter, NFT_MSG_GETGEN, 0)
  return needed(attributes(reply!), NFTA_GEN_ID).readUInt32BE()
}

/**
 * The attributes of each answer to an NFT_MSG_GET message. Throws NetlinkError ENOENT when the
 * object named is not there.
 */
export function query(netfilter: NetlinkSocket, message: number, flags: number, ...body: Buffer[]): Buffer[] {
  const { type, body: whole } = nftRequest(message, flags, ...body)
  return netfilter.get(type, flags, ...whole).map(payload => payload.subarray(nfgenmsg.size))
}

// The bodies below serve twice: to make an object, and to compare it with what a query answers, see
// holds(). So they name flags that are 0.

/** table inet NAME */
export const tableBody = (name: string) => Buffer.concat([attribute(NFTA_TABLE_NAME, text(name)), attribute(NFTA_TABLE_FLAGS, be32(0))])

/** set inet TABLE NAME { type ... } */
export const setBody = (table: string, name: string, type: KeyType, flags = 0) =>
  Buffer.concat([
    attribute(NFTA_SET_TABLE, text(table)),
    attribute(NFTA_SET_NAME, text(name)),
    attribute(NFTA_SET_FLAGS, be32(flags)),
    attribute(NFTA_SET_KEY_TYPE, be32(type.number)),
    attribute(NFTA_SET_KEY_LEN, be32(type.length)),
  ])

/** chain inet TABLE NAME { type TYPE hook HOOK priority PRIORITY; policy accept; } */
export const chainBody = (table: string, name: string, type: string, hook: number, priority: number) =>
  Buffer.concat([
    attribute(NFTA_CHAIN_TABLE, text(table)),
    attribute(NFTA_CHAIN_NAME, text(name)),
    nested(NFTA_CHAIN_HOOK, attribute(NFTA_HOOK_HOOKNUM, be32(hook)), attribute(NFTA_HOOK_PRIORITY, be32(priority))),
    attribute(NFTA_CHAIN_POLICY, be32(NF_ACCEPT)),
    attribute(NFTA_CHAIN_TYPE, text(type)),
  ])

/** rule inet TABLE CHAIN EXPRESSIONS: see nft-expressions.ts. */
export const ruleBody = (table: string, chain: string, ...expressions: Buffer[]) =>
  Buffer.concat([
    attribute(NFTA_RULE_TABLE, text(table)),
    attribute(NFTA_RULE_CHAIN, text(chain)),
    nested(NFTA_RULE_EXPRESSIONS, ...expressions),
  ])

/** nft add table inet NAME */
export const newTable = (name: string) => nftRequest(NFT_MSG_NEWTABLE, NLM_F_CREATE, tableBody(name))
/** nft delete table inet NAME */
export const deleteTable = (name: string) => nftRequest(NFT_MSG_DELTABLE, 0, attribute(NFTA_TABLE_NAME, text(name)))
/**
 * nft add set inet ...: `type` as in `body`; `id` is another number for each set of a transaction.
 */
export const newSet = (body: Buffer, { byteorder }: KeyType, id: number) =>
  nftRequest(
    NFT_MSG_NEWSET,
    NLM_F_CREATE,
    body,
    attribute(NFTA_SET_ID, be32(id)),
    // type, length, 32 bits in host byte order
    attribute(NFTA_SET_USERDATA, Buffer.from([0, 4, byteorder, 0, 0, 0])),
  )
/** nft add chain inet ... */
export const newChain = (body: Buffer) => nftRequest(NFT_MSG_NEWCHAIN, NLM_F_CREATE, body)
/** nft add rule inet ... */
export const newRule = (body: Buffer) => nftRequest(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, body)

/** The rules of a table in their order; none when there is no table. */
export const rules = (netfilter: NetlinkSocket, table: string) =>
  query(netfilter, NFT_MSG_GETRULE, NLM_F_DUMP, attribute(NFTA_RULE_TABLE, text(table))).filter(
    // kernels before 4.14 answer with the rules of all tables
    rule => string(attributes(rule).get(NFTA_RULE_TABLE)) === table,
  )

/** The name of the chain that a rule is in. */
export const chainOf = (rule: Buffer) => string(attributes(rule).get(NFTA_RULE_CHAIN))

const string = (bytes: Buffer | undefined) => bytes?.toString().replace(/\0$/, '')

export interface SetElement {
  key: Buffer
  /** NFT_SET_ELEM_ constants. */
  flags?: number
}

/** An attribute is at most 65,535 bytes long, and an element at most 36. */
const ELEMENTS_A_MESSAGE = 1000

/**
 * nft add element, or with NFT_MSG_DELSETELEM delete element, inet TABLE SET { KEYS }. Adding one
 * that is there is no error.
 */
export function setElements(message: number, table: string, set: string, elements: SetElement[]): Request[] {
  const requests: Request[] = []
  for (let at = 0; at < elements.length; at += ELEMENTS_A_MESSAGE) {
    const some = elements.slice(at, at + ELEMENTS_A_MESSAGE)
    requests.push(nftRequest(message, NLM_F_CREATE, ...elementsBody(table, set, some)))
  }
  return requests
}

/**
 * True when the set has the element: `nft get element inet TABLE SET { KEY }`. Throws NetlinkError
 * ENOENT when there is no such set.
 */
export function hasElement(netfilter: NetlinkSocket, table: string, set: string, key: Buffer): boolean {
  try {
    return query(netfilter, NFT_MSG_GETSETELEM, 0, ...elementsBody(table, set, [{ key }])).length > 0
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    query(netfilter, NFT_MSG_GETSET, 0, attribute(NFTA_SET_TABLE, text(table)), attribute(NFTA_SET_NAME, text(set)))
    return false
  }
}

/** The keys in a set: `nft list set inet TABLE SET`. */
export function keys(netfilter: NetlinkSocket, table: string, set: string): Buffer[] {
  return query(netfilter, NFT_MSG_GETSETELEM, NLM_F_DUMP, ...elementsBody(table, set, [])).flatMap(payload => {
    const list = attributes(payload).get(NFTA_SET_ELEM_LIST_ELEMENTS)
    return list === undefined ? [] : attributeList(list).map(({ payload: element }) => keyOf(element))
  })
}

/** The key of a set's element, from the payload of NFTA_LIST_ELEM. Throws RangeError. */
export const keyOf = (element: Buffer) => needed(attributes(needed(attributes(element), NFTA_SET_ELEM_KEY)), NFTA_DATA_VALUE)

function needed(found: Map<number, Buffer>, type: number): Buffer {
  const payload = found.get(type)
  if (payload === undefined) throw new RangeError(`Cannot decode an answer of nf_tables without attribute ${type}`)
  return payload
}

function elementsBody(table: string, set: string, elements: SetElement[]): Buffer[] {
  const list = elements.map(({ key, flags }) =>
    nested(
      NFTA_LIST_ELEM,
      ...(flags === undefined ? [] : [attribute(NFTA_SET_ELEM_FLAGS, be32(flags))]),
      nested(NFTA_SET_ELEM_KEY, attribute(NFTA_DATA_VALUE, key)),
    ),
  )
  const names = [attribute(NFTA_SET_ELEM_LIST_TABLE, text(table)), attribute(NFTA_SET_ELEM_LIST_SET, text(set))]
  return list.length === 0 ? names : [...names, nested(NFTA_SET_ELEM_LIST_ELEMENTS, ...list)]
}

/**
 * True when the attributes in `found`, as the kernel answered them, say all that those in `wanted`
 * say. An attribute of zeros may be absent, as the kernel leaves out flags that are 0; a list must
 * have as many members; attributes that `wanted` has none of are left out of account (handles,
 * counters, and what a later kernel adds). Throws RangeError when either is cut short.
 */
export function holds(wanted: Buffer, found: Buffer): boolean {
  const have = attributeList(found)
  const want = attributeList(wanted)
  return want.every(({ type, isNested, payload }, at) => {
    const same = have.filter(other => other.type === type)
    const siblings = want.filter(other => other.type === type)
    if (same.length === 0) return !isNested && payload.every(byte => byte === 0)
    if (same.length !== siblings.length) return false
    const counterpart = same[siblings.indexOf(want[at]!)]!.payload
    return isNested ? holds(payload, counterpart) : payload.equals(counterpart)
  })
}

/** The attributes in `bytes` in their order, of which several may have one type. */
function attributeList(bytes: Buffer): { type: number; isNested: boolean; payload: Buffer }[] {
  const found = []
  for (let at = 0; at < bytes.length; ) {
    const { len, type } = nlattr.decode(bytes.subarray(at))
    if (len < nlattr.size || at + len > bytes.length)
      throw new RangeError(`Cannot decode attribute ${type}: length ${len} of ${bytes.length - at} bytes`)
    found.push({ type: type & NLA_TYPE_MASK, isNested: (type & NLA_F_NESTED) !== 0, payload: bytes.subarray(at + nlattr.size, at + len) })
    at += (len + 3) & ~3 // NLA_ALIGN
  }
  return found
}
