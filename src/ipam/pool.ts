/** Address pools of the built-in IPAM: what `ipam` says, as ranges of numbers. Nothing here enumerates: an IPv6 range has 2^64 addresses. */

import { bits, type Family, holds, hostCidr, networkSize, parseAddress, parseCidr, toAddress, toNumber } from '../address.ts'
import { CniError, CODE } from '../cni/error.ts'
import type { Route } from '../linux/route.ts'
import { type Dns, readResolvConf } from './resolv-conf.ts'

/** Inclusive bounds; `pair` ranges start on an even address and end on an odd one. */
export interface Range {
  family: Family
  first: bigint
  last: bigint
  prefix: number
  /** Never leased; undefined in a subnet too small to have one, unless configured. */
  gateway?: bigint
}

export interface Pool {
  /** One address (or pair) comes from each set; a set's ranges share their family. */
  sets: Range[][]
  pair: boolean
  /** Inclusive bounds that are never leased. */
  exclude: { family: Family; first: bigint; last: bigint }[]
  routes: Route[]
  dns?: Dns
}

const refuse = (key: string, mustBe: string, value: unknown) =>
  new CniError(CODE.invalidConfig, `"ipam.${key}" must be ${mustBe}, not ${JSON.stringify(value)}`)

type Values = Record<string, unknown>

/** Throws CniError 7 naming key and value. */
export function parseIpam(ipam: Values): Pool {
  if (ipam.pair !== undefined && typeof ipam.pair !== 'boolean') throw refuse('pair', 'true or false', ipam.pair)
  const pair = ipam.pair === true
  const sets = rangeSets(ipam).map(set => set.map(range => parseRange(range, pair)))
  for (const set of sets) verifySet(set)
  verifyDisjoint(sets.flat())
  const pool: Pool = { sets, pair, exclude: parseExclude(ipam.exclude), routes: parseRoutes(ipam.routes, sets) }
  const dns = ipam.resolvConf === undefined ? ipam.dns : readResolvConf(ipam.resolvConf)
  if (dns !== undefined) pool.dns = dns as Dns
  return pool
}

/** `subnet` at the top is one set of one range, before those of `ranges`. */
function rangeSets(ipam: Values): Values[][] {
  const sets: Values[][] = []
  if (ipam.subnet !== undefined)
    sets.push([{ subnet: ipam.subnet, rangeStart: ipam.rangeStart, rangeEnd: ipam.rangeEnd, gateway: ipam.gateway }])
  if (ipam.ranges !== undefined) {
    if (!Array.isArray(ipam.ranges) || !ipam.ranges.every(set => Array.isArray(set) && set.length > 0))
      throw refuse('ranges', 'a list of non-empty lists of ranges', ipam.ranges)
    sets.push(...(ipam.ranges as Values[][]))
    if (ipam.subnet === undefined && ipam.gateway !== undefined) sets.push(...withGateway(sets.splice(0), ipam.gateway))
  }
  if (sets.length === 0) throw new CniError(CODE.invalidConfig, '"ipam" needs "subnet" or "ranges"')
  return sets
}

/** A `gateway` beside `ranges` is that of the ranges whose subnet holds it. */
function withGateway(sets: Values[][], gateway: unknown): Values[][] {
  const address = typeof gateway === 'string' ? parseAddress(gateway) : undefined
  if (address === undefined) throw refuse('gateway', 'an address', gateway)
  return sets.map(set =>
    set.map(range => (typeof range.subnet === 'string' && holds(range.subnet, gateway as string) ? { gateway, ...range } : range)),
  )
}

function parseRange(range: Values, pair: boolean): Range {
  const subnet = typeof range?.subnet === 'string' ? parseCidr(range.subnet) : undefined
  if (subnet === undefined) throw refuse('subnet', 'a network such as "10.66.0.0/24"', range?.subnet)
  const { family, prefix } = subnet
  const network = toNumber(subnet.bytes)
  const size = networkSize(family, prefix)
  if (network % size !== 0n)
    throw refuse('subnet', `a network without host bits (${toAddress(network - (network % size), family)}/${prefix})`, range.subnet)
  const inSubnet = (key: string): bigint | undefined => {
    if (range[key] === undefined || range[key] === null) return undefined
    const parsed = typeof range[key] === 'string' ? parseAddress(range[key]) : undefined
    const value = parsed && toNumber(parsed.bytes)
    if (value === undefined || parsed?.family !== family || value < network || value >= network + size)
      throw refuse(key, `an address in ${range.subnet}`, range[key])
    return value
  }
  // The network's own address and IPv4's broadcast are nobody's, but in networks of one or two (RFC 3021, RFC 6164) all are.
  const [least, most] = size <= 2n ? [network, network + size - 1n] : [network + 1n, network + size - (family === 4 ? 2n : 1n)]
  let first = inSubnet('rangeStart') ?? (pair ? network : least)
  let last = inSubnet('rangeEnd') ?? (pair ? network + size - 1n : most)
  if (!pair && first < least) first = least
  if (!pair && last > most) last = most
  if (first > last) throw refuse('rangeStart', `at most rangeEnd ${range.rangeEnd}`, range.rangeStart)
  if (pair) {
    first += first % 2n
    last -= (last + 1n) % 2n
    if (first > last) throw refuse('subnet', 'large enough for a pair of addresses', range.subnet)
  }
  const gateway = configuredGateway(range, family) ?? (size > 2n && !pair ? least : undefined)
  return { family, first, last, prefix: pair ? bits(family) - 1 : prefix, ...(gateway === undefined ? {} : { gateway }) }
}

/** A point-to-point gateway may lie anywhere. */
function configuredGateway(range: Values, family: Family): bigint | undefined {
  if (range.gateway === undefined || range.gateway === null) return undefined
  const parsed = typeof range.gateway === 'string' ? parseAddress(range.gateway) : undefined
  if (parsed?.family !== family) throw refuse('gateway', `an IPv${family} address`, range.gateway)
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

export const describeRange = ({ first, last, family }: Range) => `${toAddress(first, family)}-${toAddress(last, family)}`

function parseExclude(exclude: unknown): Pool['exclude'] {
  if (exclude === undefined || exclude === null) return []
  if (!Array.isArray(exclude)) throw refuse('exclude', 'a list of addresses and networks', exclude)
  return exclude.map(item => {
    const cidr = typeof item === 'string' ? (parseCidr(item) ?? parseCidr(hostCidr(item))) : undefined
    if (cidr === undefined) throw refuse('exclude', 'a list of addresses and networks', item)
    const size = networkSize(cidr.family, cidr.prefix)
    const first = (toNumber(cidr.bytes) / size) * size
    return { family: cidr.family, first, last: first + size - 1n }
  })
}

/** Without the key, a default route per family. */
function parseRoutes(routes: unknown, sets: Range[][]): Route[] {
  if (routes === undefined || routes === null)
    return [...new Set(sets.map(set => set[0]!.family))].map(family => ({ dst: family === 4 ? '0.0.0.0/0' : '::/0' }))
  if (!Array.isArray(routes)) throw refuse('routes', 'a list of routes', routes)
  for (const route of routes as Route[]) {
    if (typeof route?.dst !== 'string' || parseCidr(route.dst) === undefined)
      throw refuse('routes', 'routes with a network in "dst"', route)
    if (route.gw !== undefined && (typeof route.gw !== 'string' || parseAddress(route.gw) === undefined))
      throw refuse('routes', 'routes with an address in "gw"', route)
    for (const key of ['mtu', 'advmss', 'priority', 'table', 'scope'] as const) {
      if (route[key] !== undefined && (!Number.isInteger(route[key]) || route[key] < 0 || route[key] > 0xffffffff))
        throw refuse('routes', `routes with an integer in "${key}"`, route)
    }
  }
  return routes as Route[]
}
