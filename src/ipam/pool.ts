/**
 * Address pools of the built-in IPAM: the ranges of `ipam` as numbers. No function lists all
 * addresses: an IPv6 range has 2^64 of them.
 */

import { bits, type Family, holds, hostCidr, networkSize, parseAddress, parseCidr, toAddress, toNumber } from '../address.ts'
import { CniError, CODE } from '../cni/error.ts'
import { optionalBoolean, type Place, refuse, type Values, within } from '../cni/must-be.ts'
import { type Dns, optionalDns } from '../cni/result.ts'
import type { Route } from '../linux/route.ts'
import { capacity } from './candidates.ts'
import { readResolvConf } from './resolv-conf.ts'
import { defaultRoutes, parseRoutes } from './routes.ts'

/** Inclusive bounds; `pair` ranges start on an even address and end on an odd one. */
export interface Range {
  family: Family
  first: bigint
  last: bigint
  prefix: number
  /**
   * The gateway is never leased; undefined in a subnet too small to have one, unless configured.
   */
  gateway?: bigint
}

export interface Pool {
  /** One address (or pair) comes from each set; a set's ranges share their family. */
  sets: Range[][]
  pair: boolean
  /** Inclusive bounds of addresses that are never leased. */
  exclude: { family: Family; first: bigint; last: bigint }[]
  routes: Route[]
  dns?: Dns
}

/**
 * Limits: whenever an address is leased, all ranges are compared with each other and with the
 * excluded ones.
 */
export const [MOST_RANGES, MOST_EXCLUDED] = [1_000, 4_000]

/** How errors name the keys here. */
const IPAM: Place = { path: 'ipam.', code: CODE.invalidConfig }

/** A range as configured, and how errors name its keys. */
interface RangeSource {
  range: Values
  place: Place
}

/** Throws CniError 7 naming key and value. */
export function parseIpam(ipam: Values): Pool {
  const pair = optionalBoolean(ipam, 'pair', IPAM) ?? false
  const sources = rangeSets(ipam)
  if (sources.flat().length > MOST_RANGES)
    throw new CniError(CODE.invalidConfig, `"ipam.ranges" must be at most ${MOST_RANGES} ranges, not ${sources.flat().length}`)
  const sets = sources.map(set => set.map(source => parseRange(source, pair)))
  for (const set of sets) verifySet(set)
  verifyDisjoint(sets.flat())
  const pool: Pool = { sets, pair, exclude: parseExclude(ipam.exclude), routes: parseRoutes(ipam, IPAM) ?? defaultRoutes(sets) }
  for (const [index, set] of sets.entries()) verifyCapacity(pool, set, sources[index]!)
  const dns = (ipam.resolvConf ?? '') === '' ? optionalDns(ipam, 'dns', IPAM) : readResolvConf(ipam.resolvConf)
  if (dns !== undefined) pool.dns = dns
  return pool
}

/** The top-level `subnet` is a set of one range, before the sets of `ranges`. */
function rangeSets(ipam: Values): RangeSource[][] {
  const { subnet, rangeStart, rangeEnd, gateway } = ipam
  const top = isGiven(subnet) ? [[{ range: { subnet, rangeStart, rangeEnd, gateway }, place: IPAM }]] : []
  const sets = [...top, ...parseRanges(ipam.ranges, isGiven(subnet) ? undefined : gateway)]
  if (sets.length === 0) throw new CniError(CODE.invalidConfig, '"ipam" needs "subnet" or "ranges"')
  return sets
}

const isGiven = (value: unknown) => value !== undefined && value !== null

/** A `gateway` beside `ranges` is the gateway of the ranges whose subnet contains it. */
function parseRanges(ranges: unknown, gateway: unknown): RangeSource[][] {
  if (isGiven(gateway) && (typeof gateway !== 'string' || parseAddress(gateway) === undefined))
    throw refuse('gateway', 'an address', gateway, IPAM)
  if (!isGiven(ranges)) return []
  const isRange = (range: unknown) => typeof range === 'object' && range !== null && !Array.isArray(range)
  if (!Array.isArray(ranges) || !ranges.every(set => Array.isArray(set) && set.length > 0 && set.every(isRange)))
    throw refuse('ranges', 'a list of non-empty lists of ranges', ranges, IPAM)
  return (ranges as Values[][]).map((set, at) =>
    set.map((range, index) => {
      const held = isGiven(gateway) && typeof range.subnet === 'string' && holds(range.subnet, gateway as string)
      return { range: held ? { gateway, ...range } : range, place: within(IPAM, `ranges[${at}][${index}]`) }
    }),
  )
}

function parseRange({ range, place }: RangeSource, pair: boolean): Range {
  const subnet = typeof range.subnet === 'string' ? parseCidr(range.subnet) : undefined
  if (subnet === undefined) throw refuse('subnet', 'a network such as "10.66.0.0/24"', range.subnet, place)
  const { family, prefix } = subnet
  const network = toNumber(subnet.bytes)
  const size = networkSize(family, prefix)
  if (network % size !== 0n)
    throw refuse('subnet', `a network without host bits (${toAddress(network - (network % size), family)}/${prefix})`, range.subnet, place)
  const inSubnet = (key: string): bigint | undefined => {
    if (range[key] === undefined || range[key] === null) return undefined
    const parsed = typeof range[key] === 'string' ? parseAddress(range[key]) : undefined
    const value = parsed && toNumber(parsed.bytes)
    if (value === undefined || parsed?.family !== family || value < network || value >= network + size)
      throw refuse(key, `an address in ${range.subnet}`, range[key], place)
    return value
  }
  // The network's own address, and IPv4's broadcast address, are never leased; in networks of one
  // or two addresses (RFC 3021, RFC 6164) all are.
  const [least, most] = size <= 2n ? [network, network + size - 1n] : [network + 1n, network + size - (family === 4 ? 2n : 1n)]
  let first = inSubnet('rangeStart') ?? (pair ? network : least)
  let last = inSubnet('rangeEnd') ?? (pair ? network + size - 1n : most)
  if (!pair && first < least) first = least
  if (!pair && last > most) last = most
  if (first > last) throw refuse('rangeStart', `at most the range's end ${toAddress(last, family)}`, toAddress(first, family), place)
  if (pair) {
    first += first % 2n
    last -= (last + 1n) % 2n
    if (first > last) throw refuse('subnet', 'large enough for a pair of addresses', range.subnet, place)
  }
  const gateway = configuredGateway(range, family, place) ?? (size > 2n && !pair ? least : undefined)
  return { family, first, last, prefix: pair ? bits(family) - 1 : prefix, ...(gateway === undefined ? {} : { gateway }) }
}

/** The gateway of a point-to-point link may lie in any network. */
function configuredGateway(range: Values, family: Family, place: Place): bigint | undefined {
  if (range.gateway === undefined || range.gateway === null) return undefined
  const parsed = typeof range.gateway === 'string' ? parseAddress(range.gateway) : undefined
  if (parsed?.family !== family) throw refuse('gateway', `an IPv${family} address`, range.gateway, place)
  return toNumber(parsed.bytes)
}

function verifySet(set: Range[]): void {
  if (set.some(range => range.family !== set[0]!.family))
    throw new CniError(CODE.invalidConfig, '"ipam.ranges" mixes IPv4 and IPv6 in one list: each list gives one address')
}

function verifyDisjoint(ranges: Range[]): void {
  for (const [index, range] of ranges.entries()) {
    const clash = ranges
      .slice(index + 1)
      .find(other => other.family === range.family && other.first <= range.last && range.first <= other.last)
    if (clash !== undefined)
      throw new CniError(CODE.invalidConfig, `"ipam.ranges" overlap: ${describeRange(range)} and ${describeRange(clash)}`)
  }
}

/** A pool that can never give an address is an error of the configuration. */
function verifyCapacity(pool: Pool, set: Range[], sources: RangeSource[]): void {
  if (capacity(pool, set) > 0n) return
  const { range, place } = sources[0]!
  throw refuse('subnet', 'a network with an address to give, beside gateways and "exclude"', range.subnet, place)
}

/** True when `text` is an address of a range of the set. */
export function isIn(set: Range[], text: string): boolean {
  const address = parseAddress(text)
  if (address === undefined) return false
  const value = toNumber(address.bytes)
  return set.some(({ family, first, last }) => family === address.family && value >= first && value <= last)
}

export const describeRange = ({ first, last, family }: Range) => `${toAddress(first, family)}-${toAddress(last, family)}`

function parseExclude(exclude: unknown): Pool['exclude'] {
  if (exclude === undefined || exclude === null) return []
  if (!Array.isArray(exclude)) throw refuse('exclude', 'a list of addresses and networks', exclude, IPAM)
  if (exclude.length > MOST_EXCLUDED)
    throw new CniError(CODE.invalidConfig, `"ipam.exclude" must be at most ${MOST_EXCLUDED} addresses and networks, not ${exclude.length}`)
  return exclude.map(item => {
    const cidr = typeof item === 'string' ? (parseCidr(item) ?? parseCidr(hostCidr(item))) : undefined
    if (cidr === undefined) throw refuse('exclude', 'a list of addresses and networks', item, IPAM)
    const size = networkSize(cidr.family, cidr.prefix)
    const first = (toNumber(cidr.bytes) / size) * size
    return { family: cidr.family, first, last: first + size - 1n }
  })
}
