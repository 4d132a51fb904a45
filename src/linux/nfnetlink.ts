/** nf_tables over netlink: <linux/netfilter/nf_tables.h>. Integers inside attributes are big-endian, unlike netlink's own. */
import { attribute, attributes, type NetlinkSocket, nested, type Request, text } from './netlink.ts'
import { struct, u8, u16 } from './struct.ts'
import { NLM_F_CREATE, NLM_F_DUMP, nlattr } from './uapi.ts'

// <linux/netfilter/nfnetlink.h>
const NFNL_SUBSYS_NFTABLES = 10
const NFNL_MSG_BATCH_BEGIN = 0x10
const NFNL_MSG_BATCH_END = 0x11
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
const NF_ACCEPT = 1

// <linux/netfilter/nf_tables.h>, enum nf_tables_msg_types
export const NFT_MSG_NEWTABLE = 0
export const NFT_MSG_GETTABLE = 1
export const NFT_MSG_DELTABLE = 2
export const NFT_MSG_NEWCHAIN = 3
export const NFT_MSG_GETCHAIN = 4
export const NFT_MSG_DELCHAIN = 5
export const NFT_MSG_NEWRULE = 6
export const NFT_MSG_GETRULE = 7
export const NFT_MSG_DELRULE = 8
export const NFT_MSG_NEWSET = 9
export const NFT_MSG_DELSET = 11
export const NFT_MSG_NEWSETELEM = 12
export const NFT_MSG_GETSETELEM = 13
export const NFT_MSG_DELSETELEM = 14
export const NFT_MSG_GETGEN = 16
export const NLM_F_APPEND = 0x800

// Attributes, by the enum that they are of. A table is named by the first one everywhere.
export const NFTA_TABLE_NAME = 1
const NFTA_CHAIN_TABLE = 1
const NFTA_CHAIN_NAME = 3
const NFTA_CHAIN_HOOK = 4
const NFTA_CHAIN_POLICY = 5
const NFTA_CHAIN_TYPE = 7
const NFTA_HOOK_HOOKNUM = 1
const NFTA_HOOK_PRIORITY = 2
const NFTA_RULE_TABLE = 1
const NFTA_RULE_CHAIN = 2
const NFTA_RULE_EXPRESSIONS = 4
const NFTA_RULE_USERDATA = 7
const NFTA_SET_TABLE = 1
const NFTA_SET_NAME = 2
const NFTA_SET_FLAGS = 3
const NFTA_SET_KEY_TYPE = 4
const NFTA_SET_KEY_LEN = 5
const NFTA_SET_ID = 10
const NFTA_SET_USERDATA = 13
const NFTA_SET_ELEM_LIST_TABLE = 1
const NFTA_SET_ELEM_LIST_SET = 2
const NFTA_SET_ELEM_LIST_ELEMENTS = 3
export const NFTA_SET_ELEM_KEY = 1
export const NFTA_SET_ELEM_FLAGS = 3
export const NFTA_DATA_VALUE = 1
const NFTA_DATA_VERDICT = 2
const NFTA_VERDICT_CODE = 1
export const NFTA_LIST_ELEM = 1
const NFTA_EXPR_NAME = 1
const NFTA_EXPR_DATA = 2
const NFTA_META_DREG = 1
const NFTA_META_KEY = 2
const NFTA_CMP_SREG = 1
const NFTA_CMP_OP = 2
const NFTA_CMP_DATA = 3
const NFTA_PAYLOAD_DREG = 1
const NFTA_PAYLOAD_BASE = 2
const NFTA_PAYLOAD_OFFSET = 3
const NFTA_PAYLOAD_LEN = 4
const NFTA_LOOKUP_SET = 1
const NFTA_LOOKUP_SREG = 2
const NFTA_LOOKUP_FLAGS = 5
const NFTA_FIB_DREG = 1
const NFTA_FIB_RESULT = 2
const NFTA_FIB_FLAGS = 3
const NFTA_IMMEDIATE_DREG = 1
const NFTA_IMMEDIATE_DATA = 2
const NFTA_NAT_FLAGS = 1 // NFTA_MASQ_FLAGS
const NFTA_BITWISE_SREG = 1
const NFTA_BITWISE_DREG = 2
const NFTA_BITWISE_LEN = 3
const NFTA_BITWISE_MASK = 4
const NFTA_BITWISE_XOR = 5

const NFT_REG_VERDICT = 0
const NFT_REG_1 = 1
export const NFT_META_IIFNAME = 6
export const NFT_META_OIFNAME = 7
export const NFT_META_NFPROTO = 15
export const NFT_CMP_EQ = 0
export const NFT_CMP_NEQ = 1
export const NFT_LOOKUP_F_INV = 1
const NFT_PAYLOAD_NETWORK_HEADER = 1
const NFT_FIB_RESULT_OIF = 1
const NFTA_FIB_F_SADDR = 1
const NFTA_FIB_F_IIF = 8
const NFTA_FIB_F_PRESENT = 32
const NF_NAT_RANGE_PROTO_RANDOM_FULLY = 16 // <linux/netfilter/nf_nat.h>

export const be32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value | 0)
  return bytes
}

/** The type of an nf_tables message. */
export const nftType = (message: number) => (NFNL_SUBSYS_NFTABLES << 8) | message

/** The NFT_MSG_ number in a message's type; undefined when it is of another subsystem. */
export const nftMessage = (type: number) => (type >> 8 === NFNL_SUBSYS_NFTABLES ? type & 0xff : undefined)

/** The header of an nf_tables message, of the inet family unless given. */
export const nftHeader = (family = NFPROTO_INET) => nfgenmsg.encode({ family })

/** The attributes of an nf_tables message. Throws RangeError when it is cut short. */
export const nftAttributes = (payload: Buffer) => attributes(payload.subarray(nfgenmsg.size))

/** One nf_tables message: `message` an NFT_MSG_ constant. */
export const nftRequest = (message: number, flags: number, ...body: Buffer[]): Request => ({
  type: nftType(message),
  flags,
  body: [nftHeader(), ...body],
})

/** All of `requests` or none: what nf_tables calls a transaction. */
export function transaction(requests: Request[]): Request[] {
  const bracket = (type: number): Request => ({
    type,
    flags: 0,
    silent: true,
    body: [nfgenmsg.encode({ res_id: NFNL_SUBSYS_NFTABLES << 8 })],
  })
  return [bracket(NFNL_MSG_BATCH_BEGIN), ...requests, bracket(NFNL_MSG_BATCH_END)]
}

const expression = (name: string, ...data: Buffer[]) =>
  nested(NFTA_LIST_ELEM, attribute(NFTA_EXPR_NAME, text(name)), nested(NFTA_EXPR_DATA, ...data))
const REGISTER = be32(NFT_REG_1)

/** meta load KEY => reg 1 */
export const meta = (key: number) => expression('meta', attribute(NFTA_META_KEY, be32(key)), attribute(NFTA_META_DREG, REGISTER))
/** cmp OP reg 1 VALUE: as many bytes as VALUE has. */
export const cmp = (op: number, value: Buffer) =>
  expression(
    'cmp',
    attribute(NFTA_CMP_SREG, REGISTER),
    attribute(NFTA_CMP_OP, be32(op)),
    nested(NFTA_CMP_DATA, attribute(NFTA_DATA_VALUE, value)),
  )
/** payload load LENGTHb @ network header + OFFSET => reg 1 */
export const payload = (offset: number, length: number) =>
  expression(
    'payload',
    attribute(NFTA_PAYLOAD_DREG, REGISTER),
    attribute(NFTA_PAYLOAD_BASE, be32(NFT_PAYLOAD_NETWORK_HEADER)),
    attribute(NFTA_PAYLOAD_OFFSET, be32(offset)),
    attribute(NFTA_PAYLOAD_LEN, be32(length)),
  )
/** lookup reg 1 set SET */
export const lookup = (set: string, flags = 0) =>
  expression(
    'lookup',
    attribute(NFTA_LOOKUP_SET, text(set)),
    attribute(NFTA_LOOKUP_SREG, REGISTER),
    ...(flags ? [attribute(NFTA_LOOKUP_FLAGS, be32(flags))] : []),
  )
/** fib saddr . iif oif present => reg 1 */
export const fibSaddrIif = () =>
  expression(
    'fib',
    attribute(NFTA_FIB_FLAGS, be32(NFTA_FIB_F_SADDR | NFTA_FIB_F_IIF | NFTA_FIB_F_PRESENT)),
    attribute(NFTA_FIB_RESULT, be32(NFT_FIB_RESULT_OIF)),
    attribute(NFTA_FIB_DREG, REGISTER),
  )
/** immediate reg 0 drop */
const verdict = (code: number) =>
  expression(
    'immediate',
    attribute(NFTA_IMMEDIATE_DREG, be32(NFT_REG_VERDICT)),
    nested(NFTA_IMMEDIATE_DATA, nested(NFTA_DATA_VERDICT, attribute(NFTA_VERDICT_CODE, be32(code)))),
  )
/** immediate reg 0 drop */
export const drop = () => verdict(NF_DROP)
/** immediate reg 0 accept */
export const accept = () => verdict(NF_ACCEPT)
/** masq */
export const masq = () => expression('masq')
/** masq random-fully: two connections that begin at once do not take the same port. */
export const masqFullyRandom = () => expression('masq', attribute(NFTA_NAT_FLAGS, be32(NF_NAT_RANGE_PROTO_RANDOM_FULLY)))
/** bitwise reg 1 = (reg 1 & MASK) */
export const bitwise = (mask: Buffer) =>
  expression(
    'bitwise',
    attribute(NFTA_BITWISE_SREG, REGISTER),
    attribute(NFTA_BITWISE_DREG, REGISTER),
    attribute(NFTA_BITWISE_LEN, be32(mask.length)),
    nested(NFTA_BITWISE_MASK, attribute(NFTA_DATA_VALUE, mask)),
    nested(NFTA_BITWISE_XOR, attribute(NFTA_DATA_VALUE, Buffer.alloc(mask.length))),
  )

/** nft add rule inet TABLE CHAIN EXPRESSIONS */
export const newRule = (table: string, chain: string, ...expressions: Buffer[]) => newCommentedRule(table, chain, '', ...expressions)

/** nft add rule inet TABLE CHAIN EXPRESSIONS comment "COMMENT": at most 127 bytes; none when it is empty. */
export const newCommentedRule = (table: string, chain: string, comment: string, ...expressions: Buffer[]) =>
  nftRequest(
    NFT_MSG_NEWRULE,
    NLM_F_CREATE | NLM_F_APPEND,
    attribute(NFTA_RULE_TABLE, text(table)),
    attribute(NFTA_RULE_CHAIN, text(chain)),
    nested(NFTA_RULE_EXPRESSIONS, ...expressions),
    ...(comment === '' ? [] : [attribute(NFTA_RULE_USERDATA, userdata(NFTNL_UDATA_RULE_COMMENT, text(comment)))]),
  )

// libnftnl's udata.h: what nft(8) keeps in user data, each a type, a length and a value.
const NFTNL_UDATA_RULE_COMMENT = 0
const NFTNL_UDATA_SET_KEYBYTEORDER = 0
const userdata = (type: number, value: Buffer) => Buffer.concat([Buffer.from([type, value.length]), value])

/** nft list table inet TABLE: chain and comment of each rule, in order. Throws NetlinkError ENOENT on some kernels when there is no such table. */
export const ruleList = (netfilter: NetlinkSocket, table: string): { chain: string; comment: string }[] =>
  netfilter
    .get(nftType(NFT_MSG_GETRULE), NLM_F_DUMP, nftHeader(), attribute(NFTA_RULE_TABLE, text(table)))
    .map(nftAttributes)
    .filter(found => string(found.get(NFTA_RULE_TABLE)) === table) // kernels before 4.14 list all
    .map(found => ({ chain: string(found.get(NFTA_RULE_CHAIN)), comment: string(found.get(NFTA_RULE_USERDATA)?.subarray(2)) }))

const string = (bytes: Buffer | undefined) => (bytes ?? Buffer.alloc(0)).toString().replace(/\0.*$/s, '')

/** What nft(8) calls the type of a set's key, its length in bytes, and its byte order (1: the host's, 2: big-endian). */
export interface KeyType {
  number: number
  length: number
  order: 1 | 2
}
export const IPV4_ADDR: KeyType = { number: 7, length: 4, order: 2 }
export const IPV6_ADDR: KeyType = { number: 8, length: 16, order: 2 }
export const IFNAME: KeyType = { number: 41, length: 16, order: 1 }

/** nft add set inet TABLE NAME { type ... }: `id` names the set within the transaction. */
export const newSet = (table: string, name: string, key: KeyType, id: number, flags = 0) =>
  nftRequest(
    NFT_MSG_NEWSET,
    NLM_F_CREATE,
    attribute(NFTA_SET_TABLE, text(table)),
    attribute(NFTA_SET_NAME, text(name)),
    attribute(NFTA_SET_FLAGS, be32(flags)),
    attribute(NFTA_SET_KEY_TYPE, be32(key.number)),
    attribute(NFTA_SET_KEY_LEN, be32(key.length)),
    attribute(NFTA_SET_ID, be32(id)),
    // Four bytes in the host's order: without them `nft list` would print numbers.
    attribute(NFTA_SET_USERDATA, userdata(NFTNL_UDATA_SET_KEYBYTEORDER, Buffer.from([key.order, 0, 0, 0]))),
  )

/** nft add chain inet TABLE NAME { type TYPE hook HOOK priority PRIORITY; policy accept; } */
export const newChain = (table: string, name: string, type: string, hook: number, priority: number) =>
  nftRequest(
    NFT_MSG_NEWCHAIN,
    NLM_F_CREATE,
    attribute(NFTA_CHAIN_TABLE, text(table)),
    attribute(NFTA_CHAIN_NAME, text(name)),
    nested(NFTA_CHAIN_HOOK, attribute(NFTA_HOOK_HOOKNUM, be32(hook)), attribute(NFTA_HOOK_PRIORITY, be32(priority))),
    attribute(NFTA_CHAIN_POLICY, be32(NF_ACCEPT)),
    attribute(NFTA_CHAIN_TYPE, text(type)),
  )

/** Elements of one message: an attribute's length has 16 bits. */
const ELEMENTS_A_MESSAGE = 500

/** nft add element, or with NFT_MSG_DELSETELEM delete element, inet TABLE SET { KEY, ... }: no request when there is no key. */
export function setElements(message: number, table: string, set: string, keys: Buffer[]): Request[] {
  const requests: Request[] = []
  for (let at = 0; at < keys.length; at += ELEMENTS_A_MESSAGE) {
    const elements = keys
      .slice(at, at + ELEMENTS_A_MESSAGE)
      .map(key => nested(NFTA_LIST_ELEM, nested(NFTA_SET_ELEM_KEY, attribute(NFTA_DATA_VALUE, key))))
    requests.push(elementsRequest(message, table, set, elements))
  }
  return requests
}

/** The same with elements that are encoded already, each an NFTA_LIST_ELEM. */
export const elementsRequest = (message: number, table: string, set: string, elements: Buffer[]): Request =>
  nftRequest(
    message,
    NLM_F_CREATE,
    attribute(NFTA_SET_ELEM_LIST_TABLE, text(table)),
    attribute(NFTA_SET_ELEM_LIST_SET, text(set)),
    nested(NFTA_SET_ELEM_LIST_ELEMENTS, ...elements),
  )

/** nft list set inet TABLE SET: the keys. Throws NetlinkError ENOENT when there is no such set. */
export const elementList = (netfilter: NetlinkSocket, table: string, set: string): Buffer[] =>
  netfilter
    .get(
      nftType(NFT_MSG_GETSETELEM),
      NLM_F_DUMP,
      nftHeader(),
      attribute(NFTA_SET_ELEM_LIST_TABLE, text(table)),
      attribute(NFTA_SET_ELEM_LIST_SET, text(set)),
    )
    .flatMap(payload => list(nftAttributes(payload).get(NFTA_SET_ELEM_LIST_ELEMENTS) ?? Buffer.alloc(0)))
    .map(element => attributes(attributes(element).get(NFTA_SET_ELEM_KEY) ?? Buffer.alloc(0)).get(NFTA_DATA_VALUE))
    .filter(key => key !== undefined)

/** The attributes of a list, all of which have the same type. */
function list(bytes: Buffer): Buffer[] {
  const found: Buffer[] = []
  for (let at = 0; at < bytes.length; ) {
    const { len } = nlattr.decode(bytes.subarray(at))
    if (len < nlattr.size || at + len > bytes.length)
      throw new RangeError(`Cannot decode a list: length ${len} of ${bytes.length - at} bytes`)
    found.push(bytes.subarray(at + nlattr.size, at + len))
    at += (len + 3) & ~3 // NLA_ALIGN
  }
  return found
}
