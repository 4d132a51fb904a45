/**
 * What the runtime says of one pod: `runtimeConfig`, `args`, CNI_ARGS, the result so far, and GC's
 * list of attachments.
 */
import { parseAddress, parseCidr } from '../address.ts'
import { type Annotation, annotatedAddresses } from './annotations.ts'
import { parseArgs } from './args.ts'
import type { Environment } from './environment.ts'
import { CniError, CODE } from './error.ts'
import { VALID_ATTACHMENTS } from './json.ts'
import { CONFIGURATION, defined, optionalObject, optionalStrings, RUNTIME_CONFIG, refuse, type Values, within } from './must-be.ts'
import { type Dns, parseResult, type Result } from './result.ts'

const CNI_ARGS = within(within(CONFIGURATION, 'args'), 'cni')

export interface PodKeys {
  requestedIPs: string[]
  requestedBy?: string
  dns?: Dns
  prevResult?: Result
}

/** The values that only ADD reads. Throws CniError 2, 4, 6 or 7. */
export function podKeys(raw: Values, environment: Environment, cniVersion: string, addresses?: Annotation): PodKeys {
  refuseMac(raw, environment)
  return {
    ...requestedIPs(raw, environment, addresses),
    ...defined({ dns: runtimeDns(raw), prevResult: prevResultOf(raw, cniVersion) }),
  }
}

const runtimeConfigOf = (raw: Values): Values => optionalObject(raw, 'runtimeConfig') ?? {}

const cniArgsOf = (raw: Values): Values => optionalObject(optionalObject(raw, 'args') ?? {}, 'cni', within(CONFIGURATION, 'args')) ?? {}

function refuseMac(raw: Values, { args }: Environment): void {
  for (const [source, mac] of [
    ['runtimeConfig.mac', runtimeConfigOf(raw).mac],
    ['args.cni.mac', cniArgsOf(raw).mac],
    ['CNI_ARGS MAC', parseArgs(args).MAC],
  ] as const) {
    if (mac !== undefined && mac !== '')
      throw new CniError(CODE.unsupportedField, `${source} is ${JSON.stringify(mac)}: a TUN device has no MAC address`)
  }
}

/**
 * Addresses that are asked for, and what asks, in the words of an error; `annotation` is the pod's.
 * Throws CniError 4 for invalid CNI_ARGS, 7 for text that is not an address.
 */
export function requestedIPs(raw: Values, { args }: Environment, annotation?: Annotation): Pick<PodKeys, 'requestedIPs' | 'requestedBy'> {
  const sources: [string, string[]][] = [
    ['runtimeConfig.ips', optionalStrings(runtimeConfigOf(raw), 'ips', RUNTIME_CONFIG) ?? []],
    [`annotation "${annotation?.name}"`, annotatedAddresses(annotation) ?? []],
    ['args.cni.ips', optionalStrings(cniArgsOf(raw), 'ips', CNI_ARGS) ?? []],
    ['CNI_ARGS IP', parseArgs(args).IP?.split(',') ?? []],
  ]
  const asked = sources.find(([, ips]) => ips.length > 0)
  if (asked === undefined) return { requestedIPs: [] }
  const [requestedBy, ips] = asked
  for (const ip of ips) {
    if (parseCidr(ip) === undefined && parseAddress(ip) === undefined)
      throw new CniError(CODE.invalidConfig, `${requestedBy} must be addresses, not ${JSON.stringify(ip)}`)
  }
  return { requestedIPs: [...new Set(ips)], requestedBy } // podman sends each twice
}

/** runtimeConfig.dns, whose keys differ from those of the configuration's `dns`. */
function runtimeDns(raw: Values): Dns | undefined {
  const dns = optionalObject(runtimeConfigOf(raw), 'dns', RUNTIME_CONFIG)
  if (dns === undefined) return undefined
  const place = within(RUNTIME_CONFIG, 'dns')
  return defined({
    nameservers: optionalStrings(dns, 'servers', place),
    search: optionalStrings(dns, 'searches', place),
    options: optionalStrings(dns, 'options', place),
  })
}

/** The result of the chain so far. Throws CniError 6. */
export function prevResultOf(raw: Values, cniVersion: string): Result | undefined {
  const prevResult = raw.prevResult
  if (prevResult === undefined) return undefined
  const result = parseResult(prevResult, cniVersion, 'prevResult')
  for (const [index, ip] of result.ips.entries()) {
    if (ip.interface !== undefined && ip.interface >= result.interfaces.length)
      throw refuse(`ips[${index}].interface`, `an index into the ${result.interfaces.length} of "prevResult.interfaces"`, ip.interface, {
        path: 'prevResult.',
        code: CODE.decoding,
      })
  }
  return result
}

/**
 * GC's list; undefined when there is none. Go's libraries send it as `null` when it is empty.
 * Throws CniError 7.
 */
export function validAttachments(raw: Values): { containerID: string; ifname: string }[] | undefined {
  const key = VALID_ATTACHMENTS.find(key => key in raw)
  if (key === undefined) return undefined
  const list = raw[key] ?? []
  const valid = Array.isArray(list) && list.every(item => typeof item?.containerID === 'string' && typeof item?.ifname === 'string')
  if (!valid) throw refuse(key, 'a list of {containerID, ifname}', list)
  return list
}
