/**
 * Firewalls of the node that drop what is forwarded unless a rule accepts it: base chains at the
 * hook "forward" with the policy drop, as Docker's `ip filter FORWARD`. Accepting in a chain of our
 * own would not help: every chain must accept. So what opens one is rules in that very chain, which
 * iptables can list too:
 *
 *   iptables -I FORWARD -i tl+ -s POD_CIDR -j ACCEPT
 *   iptables -I FORWARD -o tl+ -d POD_CIDR -j ACCEPT
 *
 * What iptables-legacy has set is not in nf_tables, and is not seen here.
 */
import { familyOf, maskOf, parseCidr } from '../address.ts'
import { attribute, attributes, type NetlinkSocket, nested, type Request, text } from '../linux/netlink.ts'
import * as nft from '../linux/nfnetlink.ts'
import * as expr from '../linux/nft-expressions.ts'
import { NLM_F_CREATE, NLM_F_DUMP } from '../linux/uapi.ts'

// <linux/netfilter/nf_tables.h>: enum nft_chain_attributes, nft_hook_attributes,
// nft_rule_attributes
const NFTA_CHAIN_TABLE = 1
const NFTA_CHAIN_NAME = 3
const NFTA_CHAIN_HOOK = 4
const NFTA_CHAIN_POLICY = 5
const NFTA_HOOK_HOOKNUM = 1
const NFTA_RULE_TABLE = 1
const NFTA_RULE_CHAIN = 2
const NFTA_RULE_HANDLE = 3
const NFTA_RULE_EXPRESSIONS = 4
const NFTA_RULE_USERDATA = 7
/** libnftnl's <libnftnl/udata.h>: what `nft list` prints as a comment. */
const NFTNL_UDATA_RULE_COMMENT = 0

const OURS = Buffer.from('tl') // the prefix of the node's ends of links
const FAMILIES: Record<number, string> = { [nft.NFPROTO_INET]: 'inet', [nft.NFPROTO_IPV4]: 'ip', [nft.NFPROTO_IPV6]: 'ip6' }

export interface Chain {
  /** A number of the kernel's NFPROTO_ constants. */
  family: number
  table: string
  name: string
}

/** As `nft list chain` names it: "ip filter FORWARD". */
export const chainName = ({ family, table, name }: Chain) => `${FAMILIES[family]} ${table} ${name}`

/** Equivalent to: nft list chains. Those at the hook "forward" with the policy drop. */
export const droppingChains = (netfilter: NetlinkSocket): Chain[] =>
  netfilter
    .get(nft.nftType(nft.NFT_MSG_GETCHAIN), NLM_F_DUMP, nft.nftHeader(nft.NFPROTO_UNSPEC))
    .map(decodeDroppingChain)
    .filter(chain => chain !== undefined)

/**
 * Reads the payload of an NFT_MSG_NEWCHAIN message; undefined when the chain drops no forwarded
 * packets.
 */
export function decodeDroppingChain(payload: Buffer): Chain | undefined {
  const { family } = nft.nfgenmsg.decode(payload)
  const found = attributes(payload.subarray(nft.nfgenmsg.size))
  const hook = attributes(found.get(NFTA_CHAIN_HOOK) ?? Buffer.alloc(0)).get(NFTA_HOOK_HOOKNUM)
  const isForward = family in FAMILIES && hook?.readUInt32BE() === nft.NF_INET_FORWARD
  if (!isForward || found.get(NFTA_CHAIN_POLICY)?.readUInt32BE() !== nft.NF_DROP) return undefined
  return { family, table: string(found.get(NFTA_CHAIN_TABLE)), name: string(found.get(NFTA_CHAIN_NAME)) }
}

/** The pod CIDRs whose packets the chain sees. */
export const cidrsOf = ({ family }: Chain, podCIDRs: string[]) =>
  podCIDRs.filter(cidr => family === nft.NFPROTO_INET || family === (familyOf(cidr) === 4 ? nft.NFPROTO_IPV4 : nft.NFPROTO_IPV6))

interface Rule {
  handle: Buffer
  /** Distinguishes our rules from each other; undefined for a rule of somebody else. */
  comment: string | undefined
  /** True when the rule names our devices. */
  namesUs: boolean
}

/** Equivalent to: nft -a list chain FAMILY TABLE NAME */
function ruleList(netfilter: NetlinkSocket, chain: Chain): Rule[] {
  const of = [attribute(NFTA_RULE_TABLE, text(chain.table)), attribute(NFTA_RULE_CHAIN, text(chain.name))]
  return netfilter.get(nft.nftType(nft.NFT_MSG_GETRULE), NLM_F_DUMP, nft.nftHeader(chain.family), ...of).map(payload => {
    const found = attributes(payload.subarray(nft.nfgenmsg.size))
    const comment = commentOf(found.get(NFTA_RULE_USERDATA))
    // a comparison with "tl", as of tl+ or "tl*"
    const namesUs = (found.get(NFTA_RULE_EXPRESSIONS) ?? Buffer.alloc(0)).includes(attribute(nft.NFTA_DATA_VALUE, OURS))
    return { handle: found.get(NFTA_RULE_HANDLE)!, comment: comment?.startsWith('tunlink ') ? comment : undefined, namesUs }
  })
}

/** True when a rule of the chain names our devices: the operator or tunlinkd has allowed them. */
export const isOpen = (netfilter: NetlinkSocket, chain: Chain) => ruleList(netfilter, chain).some(({ namesUs }) => namesUs)

/**
 * Makes our rules of the chain those for `podCIDRs`; an empty list removes them. True when
 * something had to change.
 */
export function openChain(netfilter: NetlinkSocket, chain: Chain, podCIDRs: string[]): boolean {
  const wanted = cidrsOf(chain, podCIDRs).flatMap(cidr => [accepting(chain, cidr, 'from'), accepting(chain, cidr, 'to')])
  const present = ruleList(netfilter, chain).filter(({ comment }) => comment !== undefined)
  const comments = new Set(present.map(({ comment }) => comment))
  const stale = present.filter(({ comment }) => !wanted.some(rule => rule.comment === comment))
  const missing = wanted.filter(({ comment }) => !comments.has(comment))
  const requests = [...stale.map(({ handle }) => ruleDeletion(chain, handle)), ...missing.map(({ request }) => request)]
  if (requests.length > 0) netfilter.requestBatch(nft.transaction(requests))
  return requests.length > 0
}

/**
 * Equivalent to: nft insert rule FAMILY TABLE NAME iifname "tl*" ip saddr CIDR accept, or with
 * oifname and daddr.
 */
export function accepting(chain: Chain, cidr: string, direction: 'from' | 'to'): { comment: string; request: Request } {
  const { family, bytes, prefix } = parseCidr(cidr)!
  // source and destination: RFC 791, RFC 8200
  const offsets = family === 4 ? { from: 12, to: 16 } : { from: 8, to: 24 }
  const comment = `tunlink ${direction} ${cidr}`
  const protocol = Buffer.from([family === 4 ? nft.NFPROTO_IPV4 : nft.NFPROTO_IPV6])
  const expressions = [
    ...(chain.family === nft.NFPROTO_INET ? [expr.meta(expr.NFT_META_NFPROTO), expr.cmp(expr.NFT_CMP_EQ, protocol)] : []),
    expr.meta(direction === 'from' ? expr.NFT_META_IIFNAME : expr.NFT_META_OIFNAME),
    expr.cmp(expr.NFT_CMP_EQ, OURS),
    expr.payload(offsets[direction], bytes.length),
    expr.bitwise(maskOf(family, prefix)),
    expr.cmp(expr.NFT_CMP_EQ, bytes),
    expr.verdict(nft.NF_ACCEPT),
  ]
  const body = [nested(NFTA_RULE_EXPRESSIONS, ...expressions), attribute(NFTA_RULE_USERDATA, userdata(comment))]
  return { comment, request: ruleRequest(nft.NFT_MSG_NEWRULE, NLM_F_CREATE, chain, ...body) }
}

const ruleDeletion = (chain: Chain, handle: Buffer) => ruleRequest(nft.NFT_MSG_DELRULE, 0, chain, attribute(NFTA_RULE_HANDLE, handle))

const ruleRequest = (message: number, flags: number, { family, table, name }: Chain, ...body: Buffer[]): Request => ({
  type: nft.nftType(message),
  flags,
  body: [nft.nftHeader(family), attribute(NFTA_RULE_TABLE, text(table)), attribute(NFTA_RULE_CHAIN, text(name)), ...body],
})

/** One type-length-value; its string has a terminating zero. */
const userdata = (comment: string) => Buffer.concat([Buffer.from([NFTNL_UDATA_RULE_COMMENT, comment.length + 1]), text(comment)])

function commentOf(bytes: Buffer | undefined): string | undefined {
  if (bytes === undefined || bytes.length < 3 || bytes[0] !== NFTNL_UDATA_RULE_COMMENT) return undefined
  return bytes
    .subarray(2, 2 + bytes[1]!)
    .toString()
    .replace(/\0$/, '')
}

const string = (bytes: Buffer | undefined) => (bytes ?? Buffer.alloc(0)).toString().replace(/\0$/, '')
