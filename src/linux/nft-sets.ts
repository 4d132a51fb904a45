/** Sets of nf_tables and their elements: <linux/netfilter/nf_tables.h>. */
import { attributeList } from './attribute-list.ts'
import { attribute, attributes, type NetlinkSocket, nested, type Request, text } from './netlink.ts'
import {
  be32,
  NFT_MSG_GETSET,
  NFT_MSG_GETSETELEM,
  NFT_MSG_NEWSET,
  NFTA_DATA_VALUE,
  NFTA_LIST_ELEM,
  needed,
  nftRequest,
  query,
} from './nfnetlink.ts'
import { NLM_F_CREATE, NLM_F_DUMP } from './uapi.ts'

// <linux/netfilter/nf_tables.h>
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

/**
 * Types of set keys. The kernel stores `number` and `byteorder` only for nft, which prints elements
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

/** set inet TABLE NAME { type ... } */
export const setBody = (table: string, name: string, type: KeyType, flags = 0) =>
  Buffer.concat([
    attribute(NFTA_SET_TABLE, text(table)),
    attribute(NFTA_SET_NAME, text(name)),
    attribute(NFTA_SET_FLAGS, be32(flags)),
    attribute(NFTA_SET_KEY_TYPE, be32(type.number)),
    attribute(NFTA_SET_KEY_LEN, be32(type.length)),
  ])

/**
 * Equivalent to: nft add set inet ... `type` is as in `body`; `id` is a different number for each
 * set of a transaction.
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

export interface SetElement {
  key: Buffer
  /** NFT_SET_ELEM_ constants. */
  flags?: number
}

/** An attribute is at most 65,535 bytes long, and an element at most 36. */
const ELEMENTS_A_MESSAGE = 1000

/**
 * Equivalent to: nft add element, or with NFT_MSG_DELSETELEM delete element, inet TABLE SET { KEYS
 * }. Adding an existing element is not an error.
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
 * True when the set has the element. Equivalent to: nft get element inet TABLE SET { KEY }. Throws
 * NetlinkError ENOENT when the set does not exist.
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

/** The keys in a set. Equivalent to: nft list set inet TABLE SET. */
export function keys(netfilter: NetlinkSocket, table: string, set: string): Buffer[] {
  return query(netfilter, NFT_MSG_GETSETELEM, NLM_F_DUMP, ...elementsBody(table, set, [])).flatMap(payload => {
    const list = attributes(payload).get(NFTA_SET_ELEM_LIST_ELEMENTS)
    return list === undefined ? [] : attributeList(list).map(({ payload: element }) => keyOf(element))
  })
}

/** The key of a set's element, from the payload of NFTA_LIST_ELEM. Throws RangeError. */
export const keyOf = (element: Buffer) => needed(attributes(needed(attributes(element), NFTA_SET_ELEM_KEY)), NFTA_DATA_VALUE)

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
