/**
 * The table `inet tunlink-cluster`, as `nft list table inet tunlink-cluster` prints it:
 *
 *   set inside4 { type ipv4_addr; flags interval }   set inside6 { type ipv6_addr; flags interval }   where pods are met unchanged
 *   chain postrouting { type nat hook postrouting priority srcnat;
 *     ip saddr POD_CIDR ip daddr != @inside4 masquerade fully-random }               and the same for ip6
 *
 * Replaced whole, in one transaction, whenever the cluster's networks change; connections keep the translation they began with.
 */
import { bits, maskOf, networkSize, parseCidr, toBytes, toNumber } from '../address.ts'
import { attribute, type NetlinkSocket, nested, type Request, text } from '../linux/netlink.ts'
import * as nft from '../linux/nfnetlink.ts'
import { NLM_F_CREATE } from '../linux/uapi.ts'

const TABLE = 'tunlink-cluster'
const name = attribute(nft.NFTA_TABLE_NAME, text(TABLE))

const NFT_SET_INTERVAL = 0x4
const NFT_SET_ELEM_INTERVAL_END = 0x1

/** True when the table is there. */
export function hasClusterTable(netfilter: NetlinkSocket): boolean {
  return ignoringMissing(() => void netfilter.get(nft.nftType(nft.NFT_MSG_GETTABLE), 0, nft.nftHeader(), name))
}

/** Makes or replaces the table: what comes from `podCIDRs` and goes outside of `inside` is masqueraded. All in CIDR notation. */
export function setClusterTable(netfilter: NetlinkSocket, podCIDRs: string[], inside: string[]): void {
  netfilter.requestBatch(clusterTransaction(podCIDRs, inside))
}

/** nft delete table inet tunlink-cluster, if it is there; true when it was. */
export function deleteClusterTable(netfilter: NetlinkSocket): boolean {
  return ignoringMissing(() => netfilter.requestBatch(nft.transaction([nft.nftRequest(nft.NFT_MSG_DELTABLE, 0, name)])))
}

/** The messages that make the table. */
export function clusterTransaction(podCIDRs: string[], inside: string[]): Request[] {
  const newTable = nft.nftRequest(nft.NFT_MSG_NEWTABLE, NLM_F_CREATE, name)
  return nft.transaction([
    newTable, // so that there is one to delete
    nft.nftRequest(nft.NFT_MSG_DELTABLE, 0, name),
    newTable,
    nft.newChain(TABLE, 'postrouting', 'nat', nft.NF_INET_POST_ROUTING, 100),
    ...([4, 6] as const).flatMap(family => [
      intervalSet(`inside${family}`, family),
      ...elements(`inside${family}`, intervals(inside, family)),
      ...podCIDRs.map(parse).flatMap(cidr => (cidr.family === family ? [masqueradeRule(cidr)] : [])),
    ]),
  ])
}

function masqueradeRule({ family, bytes, prefix }: ReturnType<typeof parse>): Request {
  const { protocol, source, destination } = family === 4 ? IPV4 : IPV6
  return nft.newRule(
    TABLE,
    'postrouting',
    nft.meta(nft.NFT_META_NFPROTO),
    nft.cmp(nft.NFT_CMP_EQ, Buffer.from([protocol])),
    nft.payload(source, bytes.length),
    nft.bitwise(maskOf(family, prefix)),
    nft.cmp(nft.NFT_CMP_EQ, bytes),
    nft.payload(destination, bytes.length),
    nft.lookup(`inside${family}`, nft.NFT_LOOKUP_F_INV),
    nft.masqFullyRandom(),
  )
}

const IPV4 = { protocol: nft.NFPROTO_IPV4, source: 12, destination: 16 }
const IPV6 = { protocol: nft.NFPROTO_IPV6, source: 8, destination: 24 }

const intervalSet = (set: string, family: 4 | 6) =>
  nft.newSet(TABLE, set, family === 4 ? nft.IPV4_ADDR : nft.IPV6_ADDR, family, NFT_SET_INTERVAL)

/** In one message: the length of an attribute has 16 bits, and an interval of IPv6 takes 68 bytes. */
const MOST_INTERVALS = 500

/** Each interval is its first address, and the first address behind it, if any, flagged as an end. */
function elements(set: string, ranges: { first: Buffer; end?: Buffer }[]): Request[] {
  const key = (bytes: Buffer) => nested(nft.NFTA_SET_ELEM_KEY, attribute(nft.NFTA_DATA_VALUE, bytes))
  const endOf = (end: Buffer) =>
    nested(nft.NFTA_LIST_ELEM, attribute(nft.NFTA_SET_ELEM_FLAGS, nft.be32(NFT_SET_ELEM_INTERVAL_END)), key(end))
  const requests: Request[] = []
  for (let at = 0; at < ranges.length; at += MOST_INTERVALS) {
    const items = ranges
      .slice(at, at + MOST_INTERVALS)
      .flatMap(({ first, end }) => [nested(nft.NFTA_LIST_ELEM, key(first)), ...(end === undefined ? [] : [endOf(end)])])
    requests.push(nft.elementsRequest(nft.NFT_MSG_NEWSETELEM, TABLE, set, items))
  }
  return requests
}

/** The networks of one family as disjoint intervals in ascending order, which is all that the kernel takes. `end` is exclusive. */
export function intervals(cidrs: string[], family: 4 | 6): { first: Buffer; end?: Buffer }[] {
  const limit = 1n << BigInt(bits(family))
  const ranges = cidrs
    .map(parse)
    .filter(cidr => cidr.family === family)
    .map(({ bytes, prefix }) => {
      const size = networkSize(family, prefix)
      const first = (toNumber(bytes) / size) * size
      return { first, end: first + size }
    })
    .sort((a, b) => (a.first < b.first ? -1 : 1))
  const merged: typeof ranges = []
  for (const range of ranges) {
    const last = merged.at(-1)
    if (last === undefined || range.first > last.end) merged.push({ ...range })
    else if (range.end > last.end) last.end = range.end
  }
  return merged.map(({ first, end }) => ({ first: toBytes(first, family), ...(end < limit ? { end: toBytes(end, family) } : {}) }))
}

function parse(text: string) {
  const cidr = parseCidr(text)
  if (cidr === undefined) throw new SyntaxError(`Cannot parse network "${text}"`)
  return cidr
}

/** True when `body` ran through, false when the table is not there. */
function ignoringMissing(body: () => void): boolean {
  try {
    body()
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    return false
  }
}
