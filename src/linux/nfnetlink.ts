/**
 * nf_tables over netlink: <linux/netfilter/nf_tables.h>. Integers inside attributes are big-endian,
 * unlike netlink's own.
 */
import { attribute, attributes, type NetlinkSocket, nested, type Request, text } from './netlink.ts'
import { struct, u8, u16 } from './struct.ts'
import { NLM_F_CREATE, NLM_F_DUMP } from './uapi.ts'

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
export const NFTA_DATA_VALUE = 1
const NFTA_GEN_ID = 1

/** Every notification begins its attributes with the name of the table. */
export const NFTA_ANY_TABLE = 1

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
 * A transaction of nf_tables: all of `requests` or none. With `generation` it is refused with
 * ERESTART when anybody has changed any table since that generation().
 */
export function transaction(requests: Request[], generation?: number): Request[] {
  const condition = generation === undefined ? [] : [attribute(NFNL_BATCH_GENID, be32(generation))]
  return [bracket(NFNL_MSG_BATCH_BEGIN, ...condition), ...requests, bracket(NFNL_MSG_BATCH_END)]
}

/**
 * Equivalent to: nft --check. The kernel validates all of `requests` and answers, but carries out
 * none, because the transaction is not committed.
 */
export const rehearsal = (requests: Request[]): Request[] => [bracket(NFNL_MSG_BATCH_BEGIN), ...requests]

const bracket = (type: number, ...body: Buffer[]): Request => ({
  type,
  flags: 0,
  silent: true,
  body: [nfgenmsg.encode({ res_id: NFNL_SUBSYS_NFTABLES << 8 }), ...body],
})

/** The number of the last transaction in this network namespace, of any process. */
export function generation(netfilter: NetlinkSocket): number {
  const [reply] = query(netfilter, NFT_MSG_GETGEN, 0)
  return needed(attributes(reply!), NFTA_GEN_ID).readUInt32BE()
}

/**
 * The attributes of each answer to an NFT_MSG_GET message. Throws NetlinkError ENOENT when the
 * named object does not exist.
 */
export function query(netfilter: NetlinkSocket, message: number, flags: number, ...body: Buffer[]): Buffer[] {
  const { type, body: whole } = nftRequest(message, flags, ...body)
  return netfilter.get(type, flags, ...whole).map(payload => payload.subarray(nfgenmsg.size))
}

// The bodies below are used twice: to make an object, and to compare it with a query's answer, see
// holds(). So they name flags that are 0, too.

/** table inet NAME */
export const tableBody = (name: string) => Buffer.concat([attribute(NFTA_TABLE_NAME, text(name)), attribute(NFTA_TABLE_FLAGS, be32(0))])

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

/** Equivalent to: nft add table inet NAME */
export const newTable = (name: string) => nftRequest(NFT_MSG_NEWTABLE, NLM_F_CREATE, tableBody(name))
/** Equivalent to: nft delete table inet NAME */
export const deleteTable = (name: string) => nftRequest(NFT_MSG_DELTABLE, 0, attribute(NFTA_TABLE_NAME, text(name)))
/** Equivalent to: nft add chain inet ... */
export const newChain = (body: Buffer) => nftRequest(NFT_MSG_NEWCHAIN, NLM_F_CREATE, body)
/** Equivalent to: nft add rule inet ... */
export const newRule = (body: Buffer) => nftRequest(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, body)

/** The rules of a table in their order; none when the table does not exist. */
export const rules = (netfilter: NetlinkSocket, table: string) =>
  query(netfilter, NFT_MSG_GETRULE, NLM_F_DUMP, attribute(NFTA_RULE_TABLE, text(table))).filter(
    // kernels before 4.14 answer with the rules of all tables
    rule => string(attributes(rule).get(NFTA_RULE_TABLE)) === table,
  )

/** The name of a rule's chain. */
export const chainOf = (rule: Buffer) => string(attributes(rule).get(NFTA_RULE_CHAIN))

const string = (bytes: Buffer | undefined) => bytes?.toString().replace(/\0$/, '')

/** One attribute of an answer. Throws RangeError when it is missing. */
export function needed(found: Map<number, Buffer>, type: number): Buffer {
  const payload = found.get(type)
  if (payload === undefined) throw new RangeError(`Cannot decode an answer of nf_tables without attribute ${type}`)
  return payload
}
