/**
 * The expressions that rules of nf_tables are made of, as `nft --debug=netlink` prints them:
 * <linux/netfilter/nf_tables.h>.
 */
import { attribute, nested, text } from './netlink.ts'
import { be32, NFTA_DATA_VALUE, NFTA_LIST_ELEM } from './nfnetlink.ts'

// <linux/netfilter/nf_tables.h>
const NFT_REG_VERDICT = 0
const NFT_REG_1 = 1
const NFTA_DATA_VERDICT = 2
const NFTA_VERDICT_CODE = 1
const NFTA_EXPR_NAME = 1
const NFTA_EXPR_DATA = 2
const NFTA_IMMEDIATE_DREG = 1
const NFTA_IMMEDIATE_DATA = 2
const NFTA_BITWISE_SREG = 1
const NFTA_BITWISE_DREG = 2
const NFTA_BITWISE_LEN = 3
const NFTA_BITWISE_MASK = 4
const NFTA_BITWISE_XOR = 5
export const NFT_CMP_EQ = 0
export const NFT_CMP_NEQ = 1
const NFTA_CMP_SREG = 1
const NFTA_CMP_OP = 2
const NFTA_CMP_DATA = 3
export const NFT_LOOKUP_F_INV = 1
const NFTA_LOOKUP_SET = 1
const NFTA_LOOKUP_SREG = 2
const NFTA_LOOKUP_FLAGS = 5
const NFT_PAYLOAD_NETWORK_HEADER = 1
const NFTA_PAYLOAD_DREG = 1
const NFTA_PAYLOAD_BASE = 2
const NFTA_PAYLOAD_OFFSET = 3
const NFTA_PAYLOAD_LEN = 4
export const NFT_META_IIFNAME = 6
export const NFT_META_OIFNAME = 7
export const NFT_META_NFPROTO = 15
const NFTA_META_DREG = 1
const NFTA_META_KEY = 2
const NFTA_MASQ_FLAGS = 1
const NFT_FIB_RESULT_OIF = 1
const NFTA_FIB_DREG = 1
const NFTA_FIB_RESULT = 2
const NFTA_FIB_FLAGS = 3
const NFTA_FIB_F_SADDR = 1 << 0
const NFTA_FIB_F_IIF = 1 << 3
const NFTA_FIB_F_PRESENT = 1 << 5

export const NF_NAT_RANGE_PROTO_RANDOM_FULLY = 1 << 4 // <linux/netfilter/nf_nat.h>

const expression = (name: string, ...data: Buffer[]) =>
  nested(NFTA_LIST_ELEM, attribute(NFTA_EXPR_NAME, text(name)), nested(NFTA_EXPR_DATA, ...data))

/** meta load KEY => reg 1 */
export const meta = (key: number) => expression('meta', attribute(NFTA_META_KEY, be32(key)), attribute(NFTA_META_DREG, be32(NFT_REG_1)))

/** cmp OP reg 1 VALUE: as many bytes as VALUE has. */
export const cmp = (op: number, value: Buffer) =>
  expression(
    'cmp',
    attribute(NFTA_CMP_SREG, be32(NFT_REG_1)),
    attribute(NFTA_CMP_OP, be32(op)),
    nested(NFTA_CMP_DATA, attribute(NFTA_DATA_VALUE, value)),
  )

/** payload load LENGTHb @ network header + OFFSET => reg 1 */
export const payload = (offset: number, length: number) =>
  expression(
    'payload',
    attribute(NFTA_PAYLOAD_DREG, be32(NFT_REG_1)),
    attribute(NFTA_PAYLOAD_BASE, be32(NFT_PAYLOAD_NETWORK_HEADER)),
    attribute(NFTA_PAYLOAD_OFFSET, be32(offset)),
    attribute(NFTA_PAYLOAD_LEN, be32(length)),
  )

/** lookup reg 1 set SET */
export const lookup = (set: string, flags = 0) =>
  expression(
    'lookup',
    attribute(NFTA_LOOKUP_SET, text(set)),
    attribute(NFTA_LOOKUP_SREG, be32(NFT_REG_1)),
    attribute(NFTA_LOOKUP_FLAGS, be32(flags)),
  )

/**
 * fib saddr . iif oif present => reg 1: 1 when a route to the packet's source leaves by the device
 * that received the packet, else 0.
 */
export const fibSaddrIif = () =>
  expression(
    'fib',
    attribute(NFTA_FIB_FLAGS, be32(NFTA_FIB_F_SADDR | NFTA_FIB_F_IIF | NFTA_FIB_F_PRESENT)),
    attribute(NFTA_FIB_RESULT, be32(NFT_FIB_RESULT_OIF)),
    attribute(NFTA_FIB_DREG, be32(NFT_REG_1)),
  )

/** immediate reg 0 VERDICT: NF_DROP or NF_ACCEPT. */
export const verdict = (code: number) =>
  expression(
    'immediate',
    attribute(NFTA_IMMEDIATE_DREG, be32(NFT_REG_VERDICT)),
    nested(NFTA_IMMEDIATE_DATA, nested(NFTA_DATA_VERDICT, attribute(NFTA_VERDICT_CODE, be32(code)))),
  )

/**
 * masq: with NF_NAT_RANGE_PROTO_RANDOM_FULLY two connections that begin at once get different
 * ports.
 */
export const masq = (flags = 0) => expression('masq', attribute(NFTA_MASQ_FLAGS, be32(flags)))

/** bitwise reg 1 = (reg 1 & MASK) */
export const bitwise = (mask: Buffer) =>
  expression(
    'bitwise',
    attribute(NFTA_BITWISE_SREG, be32(NFT_REG_1)),
    attribute(NFTA_BITWISE_DREG, be32(NFT_REG_1)),
    attribute(NFTA_BITWISE_LEN, be32(mask.length)),
    nested(NFTA_BITWISE_MASK, attribute(NFTA_DATA_VALUE, mask)),
    nested(NFTA_BITWISE_XOR, attribute(NFTA_DATA_VALUE, Buffer.alloc(mask.length))),
  )
