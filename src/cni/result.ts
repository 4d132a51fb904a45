/**
 * CNI results of every version: see "Result types" in the CNI specification. Inside the program
 * they have the newest shape.
 */
import { familyOf, parseAddress, parseCidr } from '../address.ts'
import { CniError, CODE } from './error.ts'
import {
  CONFIGURATION,
  defined,
  optionalInteger,
  optionalObject,
  optionalObjects,
  optionalString,
  optionalStrings,
  type Place,
  refuse,
  type Values,
  within,
} from './must-be.ts'
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

/** The largest value of an `int` that JSON can carry exactly. */
const MOST = Number.MAX_SAFE_INTEGER

/**
 * Reads a result from JSON without nulls. It is of `version` unless it names its own; errors call
 * it `name`. Throws CniError 6 when it is not a result.
 */
export function parseResult(json: unknown, version: string, name = 'result'): Result {
  const raw = optionalObject({ [name]: json }, name, { path: '', code: CODE.decoding }) ?? {}
  const place = within({ path: '', code: CODE.decoding }, name)
  const cniVersion = optionalString(raw, 'cniVersion', place) ?? version
  const dns = optionalDns(raw, 'dns', place) ?? {}
  const interfaces = optionalObjects(raw, 'interfaces', place) ?? []
  if (compareVersions(cniVersion, '0.3.0') < 0) return { cniVersion, interfaces: [], ...parseLegacy(raw, place), dns }
  const ips = optionalObjects(raw, 'ips', place) ?? []
  return {
    cniVersion,
    interfaces: interfaces.map((item, index) => parseInterface(item, within(place, `interfaces[${index}]`))),
    ips: ips.map((item, index) => parseIP(item, 'address', within(place, `ips[${index}]`))),
    routes: parseRoutes(raw, place),
    dns,
  }
}

function parseLegacy(raw: Values, place: Place): Pick<Result, 'ips' | 'routes'> {
  const families = ['ip4', 'ip6'].flatMap(key => {
    const family = optionalObject(raw, key, place)
    return family === undefined ? [] : [{ ip: parseIP(family, 'ip', within(place, key)), routes: parseRoutes(family, within(place, key)) }]
  })
  return {
    ips: families.map(({ ip: { address, gateway } }) => ({ address, ...defined({ gateway }) })),
    routes: families.flatMap(({ routes }) => routes),
  }
}

function parseInterface(item: Values, place: Place): ResultInterface {
  const name = optionalString(item, 'name', place)
  if (name === undefined) throw refuse('name', 'a string', item.name, place)
  for (const key of ['mac', 'sandbox', 'socketPath', 'pciID']) optionalString(item, key, place)
  optionalInteger(item, 'mtu', 0, MOST, place)
  return item as unknown as ResultInterface
}

function parseIP({ gateway, ...item }: Values, key: 'address' | 'ip', place: Place): ResultIP {
  const address = item[key]
  if (typeof address !== 'string' || parseCidr(address) === undefined) throw refuse(key, 'an address with a prefix', address, place)
  optionalInteger(item, 'interface', 0, MOST, place)
  return { ...item, address, ...defined({ gateway: optionalAddress({ gateway }, 'gateway', place) }) }
}

function parseRoutes(raw: Values, place: Place): ResultRoute[] {
  return (optionalObjects(raw, 'routes', place) ?? []).map(({ gw, ...item }, index) => {
    const at = within(place, `routes[${index}]`)
    if (typeof item.dst !== 'string' || parseCidr(item.dst) === undefined) throw refuse('dst', 'a network', item.dst, at)
    for (const key of ['mtu', 'advmss', 'priority', 'table', 'scope']) optionalInteger(item, key, 0, MOST, at)
    return { ...item, dst: item.dst, ...defined({ gw: optionalAddress({ gw }, 'gw', at) }) }
  })
}

function optionalAddress(values: Values, key: string, place: Place): string | undefined {
  const address = optionalString(values, key, place)
  if (address !== undefined && parseAddress(address) === undefined) throw refuse(key, 'an address', address, place)
  return address
}

/**
 * The object `key` as CNI's `dns`, without unknown keys. Throws CniError 7, or the code of `place`.
 */
export function optionalDns(values: Values, key: string, place: Place = CONFIGURATION): Dns | undefined {
  const dns = optionalObject(values, key, place)
  if (dns === undefined) return undefined
  const at = within(place, key)
  return defined({
    nameservers: optionalStrings(dns, 'nameservers', at),
    domain: optionalString(dns, 'domain', at),
    search: optionalStrings(dns, 'search', at),
    options: optionalStrings(dns, 'options', at),
  })
}

/**
 * The result as JSON, in the shape of `version`. Throws CniError 999 when that version cannot
 * express it.
 */
export function printResult(result: Result, version: string): string {
  if (compareVersions(version, '0.3.0') < 0) return JSON.stringify(legacyShape(result, version))
  const newest = compareVersions(version, '1.1.0') >= 0
  const withDns = compareVersions(version, '1.0.0') < 0 || Object.keys(result.dns).length > 0
  return JSON.stringify({
    cniVersion: version,
    ...(result.interfaces.length > 0 ? { interfaces: newest ? result.interfaces : result.interfaces.map(oldInterface) } : {}),
    ips: result.ips.map(ip =>
      compareVersions(version, '1.0.0') < 0 ? { version: String(familyOf(ip.address)), ...ip } : withoutVersion(ip),
    ),
    ...(result.routes.length > 0 ? { routes: newest ? result.routes : result.routes.map(oldRoute) } : {}),
    ...(withDns ? { dns: result.dns } : {}),
  })
}

const oldInterface = ({ name, mac, sandbox }: ResultInterface) => ({ name, mac, sandbox })
const oldRoute = ({ dst, gw }: ResultRoute) => ({ dst, gw })
const withoutVersion = (ip: ResultIP) => ({ ...ip, version: undefined })

function legacyShape({ ips, routes, dns }: Result, cniVersion: string) {
  const one = (wanted: 4 | 6): LegacyIP | undefined => {
    const ip = ips.find(({ address }) => familyOf(address) === wanted)
    if (ip === undefined) return undefined
    const own = routes.filter(({ dst }) => familyOf(dst) === wanted).map(oldRoute) as ResultRoute[]
    return { ip: ip.address, gateway: ip.gateway, ...(own.length > 0 ? { routes: own } : {}) }
  }
  const [ip4, ip6] = [one(4), one(6)]
  if (ip4 === undefined && ip6 === undefined) throw new CniError(CODE.internal, 'cannot convert: no valid IP addresses')
  return { cniVersion, ip4, ip6, dns }
}

/**
 * The chain's result so far, followed by ours: the indexes of our interfaces grow by the number of
 * those before.
 */
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
