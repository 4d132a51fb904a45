/** nf_tables over netlink: <linux/netfilter/nf_tables.h>. Integers inside attributes are big-endian, unlike netlink's own. */
import { attribute, nested, type Request } from './netlink.ts'
import { struct, u8, u16 } from './struct.ts'
import { NLM_F_CREATE } from './uapi.ts'

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
export const NFT_MSG_NEWRULE = 6
export const NFT_MSG_GETRULE = 7
export const NFT_MSG_DELRULE = 8
export const NFT_MSG_NEWSET = 9
export const NFT_MSG_NEWSETELEM = 12
export const NFT_MSG_DELSETELEM = 14
export const NLM_F_APPEND = 0x800
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
export const text = (value: string) => Buffer.from(`${value}\0`)

/** The type of an nf_tables message. */
export const nftType = (message: number) => (NFNL_SUBSYS_NFTABLES << 8) | message

/** The header of an nf_tables message, of the inet family unless given. */
export const nftHeader = (family = NFPROTO_INET) => nfgenmsg.encode({ family })

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

const expression = (name: string, ...data: Buffer[]) => nested(1, attribute(1, text(name)), nested(2, ...data)) // NFTA_LIST_ELEM, NFTA_EXPR_NAME, NFTA_EXPR_DATA

/** meta load KEY => reg 1 */
export const meta = (key: number) => expression('meta', attribute(2, be32(key)), attribute(1, be32(NFT_REG_1)))
/** cmp OP reg 1 VALUE: as many bytes as VALUE has. */
export const cmp = (op: number, value: Buffer) =>
  expression('cmp', attribute(1, be32(NFT_REG_1)), attribute(2, be32(op)), nested(3, attribute(1, value)))
/** payload load LENGTHb @ network header + OFFSET => reg 1 */
export const payload = (offset: number, length: number) =>
  expression(
    'payload',
    attribute(1, be32(NFT_REG_1)),
    attribute(2, be32(NFT_PAYLOAD_NETWORK_HEADER)),
    attribute(3, be32(offset)),
    attribute(4, be32(length)),
  )
/** lookup reg 1 set SET */
export const lookup = (set: string, flags = 0) =>
  expression('lookup', attribute(1, text(set)), attribute(2, be32(NFT_REG_1)), ...(flags ? [attribute(5, be32(flags))] : []))
/** fib saddr . iif oif present => reg 1 */
export const fibSaddrIif = () =>
  expression(
    'fib',
    attribute(3, be32(NFTA_FIB_F_SADDR | NFTA_FIB_F_IIF | NFTA_FIB_F_PRESENT)),
    attribute(2, be32(NFT_FIB_RESULT_OIF)),
    attribute(1, be32(NFT_REG_1)),
  )
/** immediate reg 0 drop */
export const drop = () => expression('immediate', attribute(1, be32(NFT_REG_VERDICT)), nested(2, nested(2, attribute(1, be32(NF_DROP)))))
/** immediate reg 0 accept */
export const accept = () =>
  expression('immediate', attribute(1, be32(NFT_REG_VERDICT)), nested(2, nested(2, attribute(1, be32(NF_ACCEPT)))))
/** masq */
export const masq = () => expression('masq')
/** masq random-fully: two connections that begin at once do not take the same port. */
export const masqFullyRandom = () => expression('masq', attribute(1, be32(NF_NAT_RANGE_PROTO_RANDOM_FULLY)))
/** bitwise reg 1 = (reg 1 & MASK) */
export const bitwise = (mask: Buffer) =>
  expression(
    'bitwise',
    attribute(1, be32(NFT_REG_1)),
    attribute(2, be32(NFT_REG_1)),
    attribute(3, be32(mask.length)),
    nested(4, attribute(1, mask)),
    nested(5, attribute(1, Buffer.alloc(mask.length))),
  )

/** nft add rule inet TABLE CHAIN EXPRESSIONS */
export const newRule = (table: string, chain: string, ...expressions: Buffer[]) =>
  nftRequest(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, attribute(1, text(table)), attribute(2, text(chain)), nested(4, ...expressions))

/** nft add set inet TABLE NAME { type ... }: `keyType` is nft's number of the type, `id` names the set within the transaction. */
export const newSet = (table: string, name: string, keyType: number, keyLength: number, id: number, flags = 0) =>
  nftRequest(
    NFT_MSG_NEWSET,
    NLM_F_CREATE,
    attribute(1, text(table)),
    attribute(2, text(name)),
    attribute(3, be32(flags)),
    attribute(4, be32(keyType)),
    attribute(5, be32(keyLength)),
    attribute(10, be32(id)),
    attribute(13, Buffer.from([0, 4, 2, 0, 0, 0])), // NFTNL_UDATA_SET_KEYBYTEORDER: big-endian, so that `nft list` prints addresses
  )

/** nft add chain inet TABLE NAME { type TYPE hook HOOK priority PRIORITY; policy accept; } */
export const newChain = (table: string, name: string, type: string, hook: number, priority: number) =>
  nftRequest(
    NFT_MSG_NEWCHAIN,
    NLM_F_CREATE,
    attribute(1, text(table)),
    attribute(3, text(name)),
    nested(4, attribute(1, be32(hook)), attribute(2, be32(priority))),
    attribute(5, be32(1)), // NF_ACCEPT
    attribute(7, text(type)),
  )

/** nft add element, or with NFT_MSG_DELSETELEM delete element, inet TABLE SET { KEY } */
export const setElement = (message: number, table: string, set: string, key: Buffer) =>
  nftRequest(message, NLM_F_CREATE, attribute(1, text(table)), attribute(2, text(set)), nested(3, nested(1, nested(1, attribute(1, key)))))
