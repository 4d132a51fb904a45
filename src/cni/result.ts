/** CNI results of every version: see "Result types" in the CNI specification. In the program they have the newest shape. */
import { parseCidr } from '../address.ts'
import { CniError, CODE } from './error.ts'
import { compareVersions } from './version.ts'

export interface Dns {
  nameservers?: string[]
  domain?: string
  search?: string[]
  options?: string[]
}

export interface ResultInterface {
  name: string
  mac?: string
  mtu?: number | undefined
  sandbox?: string
  socketPath?: string
  pciID?: string
}

export interface ResultIP {
  address: string
  gateway?: string | undefined
  /** Index into `interfaces`. */
  interface?: number
}

export interface ResultRoute {
  dst: string
  gw?: string
  mtu?: number
  advmss?: number
  priority?: number
  table?: number
  scope?: number
}

export interface Result {
  cniVersion: string
  interfaces: ResultInterface[]
  ips: ResultIP[]
  routes: ResultRoute[]
  dns: Dns
}

interface LegacyIP {
  ip: string
  gateway?: string | undefined
  routes?: ResultRoute[]
}

/** A result read from JSON, of `version` unless it says its own. Throws CniError 6. */
export function parseResult(json: unknown, version: string): Result {
  const raw = json as Partial<Result> & { ip4?: LegacyIP; ip6?: LegacyIP }
  const cniVersion = raw.cniVersion || version
  const legacy = compareVersions(cniVersion, '0.3.0') < 0
  const result = legacy
    ? fromLegacy(raw, cniVersion)
    : { cniVersion, interfaces: raw.interfaces ?? [], ips: raw.ips ?? [], routes: raw.routes ?? [], dns: raw.dns ?? {} }
  for (const { address } of result.ips) {
    if (typeof address !== 'string' || parseCidr(address) === undefined)
      throw new CniError(CODE.decoding, `result has "${address}" for an address with prefix`)
  }
  return result
}

function fromLegacy({ ip4, ip6, dns }: { ip4?: LegacyIP; ip6?: LegacyIP; dns?: Dns }, cniVersion: string): Result {
  const families = [ip4, ip6].filter(family => family !== undefined && family !== null)
  return {
    cniVersion,
    interfaces: [],
    ips: families.map(({ ip, gateway }) => ({ address: ip, ...(gateway === undefined ? {} : { gateway }) })),
    routes: families.flatMap(({ routes }) => routes ?? []),
    dns: dns ?? {},
  }
}

/** The JSON that `version` wants. Throws CniError 999 when it cannot say what the result is. */
export function printResult(result: Result, version: string): string {
  if (compareVersions(version, '0.3.0') < 0) return JSON.stringify(legacyShape(result, version))
  const newest = compareVersions(version, '1.1.0') >= 0
  const withDns = compareVersions(version, '1.0.0') < 0 || Object.keys(result.dns).length > 0
  return JSON.stringify({
    cniVersion: version,
    ...(result.interfaces.length > 0 ? { interfaces: newest ? result.interfaces : result.interfaces.map(oldInterface) } : {}),
    ips: result.ips.map(ip =>
      compareVersions(version, '1.0.0') < 0 ? { version: String(family(ip.address)), ...ip } : withoutVersion(ip),
    ),
    ...(result.routes.length > 0 ? { routes: newest ? result.routes : result.routes.map(oldRoute) } : {}),
    ...(withDns ? { dns: result.dns } : {}),
  })
}

const oldInterface = ({ name, mac, sandbox }: ResultInterface) => ({ name, mac, sandbox })
const oldRoute = ({ dst, gw }: ResultRoute) => ({ dst, gw })
const withoutVersion = (ip: ResultIP) => ({ ...ip, version: undefined })

const family = (cidr: string) => (cidr.includes(':') ? 6 : 4)

function legacyShape({ ips, routes, dns }: Result, cniVersion: string) {
  const one = (wanted: 4 | 6): LegacyIP | undefined => {
    const ip = ips.find(({ address }) => family(address) === wanted)
    if (ip === undefined) return undefined
    const own = routes.filter(({ dst }) => family(dst) === wanted).map(oldRoute) as ResultRoute[]
    return { ip: ip.address, gateway: ip.gateway, ...(own.length > 0 ? { routes: own } : {}) }
  }
  const [ip4, ip6] = [one(4), one(6)]
  if (ip4 === undefined && ip6 === undefined) throw new CniError(CODE.internal, 'cannot convert: no valid IP addresses')
  return { cniVersion, ip4, ip6, dns }
}

/** The chain's result so far with our own behind it: its interface indexes move up by what was there. */
export function appendResult(previous: Result, own: Result): Result {
  const offset = previous.interfaces.length
  return {
    cniVersion: own.cniVersion,
    interfaces: [...previous.interfaces, ...own.interfaces],
    ips: [...previous.ips, ...own.ips.map(ip => (ip.interface === undefined ? ip : { ...ip, interface: ip.interface + offset }))],
    routes: [...previous.routes, ...own.routes],
    dns: Object.keys(previous.dns).length > 0 ? previous.dns : own.dns,
  }
}
