/**
 * The table `inet tunlink`, as `nft list table inet tunlink` prints it:
 *
 *   set masq4 { type ipv4_addr }   set masq6 { type ipv6_addr }        one element per pod address
 *   chain prerouting  { meta nfproto ipv6 iifname "tl*" fib saddr . iif oif missing drop }
 *   chain postrouting { ip saddr @masq4 ip daddr != @masq4 oifname != "tl*" masquerade }   and the same for ip6
 *
 * The rules never change with the pods, so their number costs nothing.
 */
import { parseAddress } from '../address.ts'
import { attribute, type NetlinkSocket } from './netlink.ts'
import * as nft from './nfnetlink.ts'
import { NLM_F_CREATE, NLM_F_EXCL } from './uapi.ts'

const TABLE = 'tunlink'
const OURS = Buffer.from('tl') // the prefix of the node's ends: compared without the closing zero, it means "tl*"
const name = attribute(1, nft.text(TABLE))

/** Makes the table, whole, if it is not there. Throws NetlinkError. */
export function ensureTable(netfilter: NetlinkSocket): void {
  if (ignoring('ENOENT', () => void netfilter.get(nft.nftType(nft.NFT_MSG_GETTABLE), 0, nft.nftHeader(), name))) return
  ignoring('EEXIST', () => netfilter.requestBatch(tableTransaction())) // another process was faster
}

/** The messages that make the table. */
export function tableTransaction() {
  const fromOther = (protocol: number, source: number, destination: number, length: number, set: string) => [
    nft.meta(nft.NFT_META_NFPROTO),
    nft.cmp(nft.NFT_CMP_EQ, Buffer.from([protocol])),
    nft.payload(source, length),
    nft.lookup(set),
    nft.payload(destination, length),
    nft.lookup(set, nft.NFT_LOOKUP_F_INV),
    nft.meta(nft.NFT_META_OIFNAME),
    nft.cmp(nft.NFT_CMP_NEQ, OURS),
    nft.masq(),
  ]
  return nft.transaction([
    nft.nftRequest(nft.NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL, name),
    nft.newSet(TABLE, 'masq4', 7, 4, 1),
    nft.newSet(TABLE, 'masq6', 8, 16, 2),
    nft.newChain(TABLE, 'prerouting', 'filter', nft.NF_INET_PRE_ROUTING, -300),
    nft.newChain(TABLE, 'postrouting', 'nat', nft.NF_INET_POST_ROUTING, 100),
    nft.newRule(
      TABLE,
      'prerouting',
      nft.meta(nft.NFT_META_NFPROTO),
      nft.cmp(nft.NFT_CMP_EQ, Buffer.from([nft.NFPROTO_IPV6])),
      nft.meta(nft.NFT_META_IIFNAME),
      nft.cmp(nft.NFT_CMP_EQ, OURS),
      nft.fibSaddrIif(),
      nft.cmp(nft.NFT_CMP_EQ, nft.be32(0)),
      nft.drop(),
    ),
    nft.newRule(TABLE, 'postrouting', ...fromOther(nft.NFPROTO_IPV4, 12, 16, 4, 'masq4')),
    nft.newRule(TABLE, 'postrouting', ...fromOther(nft.NFPROTO_IPV6, 8, 24, 16, 'masq6')),
  ])
}

/** nft add element inet tunlink masq4 { ADDRESS }, masq6 for IPv6. */
export function addMasquerade(netfilter: NetlinkSocket, addresses: string[]): void {
  netfilter.requestBatch(nft.transaction(addresses.map(address => element(nft.NFT_MSG_NEWSETELEM, address))))
}

/** nft delete element ...: one that is not there is no error. */
export function deleteMasquerade(netfilter: NetlinkSocket, addresses: string[]): void {
  for (const address of addresses)
    ignoring('ENOENT', () => netfilter.requestBatch(nft.transaction([element(nft.NFT_MSG_DELSETELEM, address)])))
}

/** nft delete table inet tunlink, if it is there. */
export function deleteTable(netfilter: NetlinkSocket): void {
  ignoring('ENOENT', () => netfilter.requestBatch(nft.transaction([nft.nftRequest(nft.NFT_MSG_DELTABLE, 0, name)])))
}

function element(message: number, address: string) {
  const { family, bytes } = parseAddress(address)!
  return nft.setElement(message, TABLE, family === 4 ? 'masq4' : 'masq6', bytes)
}

/** True when `body` ran through, false when the kernel answered `code`. */
function ignoring(code: string, body: () => void): boolean {
  try {
    body()
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== code) throw error
    return false
  }
}
