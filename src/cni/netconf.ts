/** The network configuration on standard input: see "Network configuration format" in the CNI specification and the README's table. */
import { hostCidr, parseAddress, parseCidr } from '../address.ts'
import { parseArgs } from './args.ts'
import { type Environment, verifyIfname } from './environment.ts'
import { CniError, CODE } from './error.ts'
import { optionalBoolean, optionalChoice, optionalInteger, optionalObject, optionalString, optionalStrings } from './must-be.ts'
import { type Dns, parseResult, type Result } from './result.ts'
import { verifyVersion } from './version.ts'

export interface NetConf {
  cniVersion: string
  name: string
  type: string
  farEnd: 'host' | 'attach'
  wire: 'auto' | 'kernel' | 'thread'
  /** Bytes. */
  mtu?: number
  addressing: 'peer' | 'subnet'
  /** The far end's addresses, at most one per family, each with the prefix that the pod routes to it. */
  peer: { address: string; prefix: number }[]
  ipMasq: boolean
  /** Print an all-zero `mac`: podman's CNI backend refuses a result without one. */
  zeroMac: boolean
  owner?: number
  group?: number
  multiQueue: boolean
  txQLen?: number
  dataDir: string
  agent: { spawn: boolean; idleSeconds: number }
  /** Name of the pod's end instead of CNI_IFNAME, for an extra interface in a chain. */
  ifName?: string
  /** Replaces the IPAM's wholly. */
  dns?: Dns
  ipam?: { type: string } & Record<string, unknown>
  /** Addresses with or without prefix: of runtimeConfig.ips, else args.cni.ips, else CNI_ARGS IP. */
  requestedIPs: string[]
  prevResult?: Result
  /** GC's list; undefined when the runtime sent none. */
  validAttachments?: { containerID: string; ifname: string }[]
}

type Values = Record<string, unknown>

/** Throws CniError 1, 2, 4, 6 or 7, before anything has been done. */
export function parseNetConf(stdin: string, environment: Environment): NetConf {
  const raw = parseJson(stdin)
  const cniVersion = optionalString(raw, 'cniVersion') || '0.1.0' // as the reference library reads an absent one
  const name = verifyName(raw)
  verifyVersion(cniVersion, environment.command)
  const conf: NetConf = {
    cniVersion,
    name,
    type: optionalString(raw, 'type') ?? 'tunlink',
    ...linkKeys(raw),
    ...sharedKeys(raw),
    requestedIPs: [],
  }
  const dns = runtimeDns(raw) ?? (optionalObject(raw, 'dns') as Dns | undefined)
  if (dns !== undefined) conf.dns = dns
  const ipam = optionalObject(raw, 'ipam')
  if (ipam !== undefined && Object.keys(ipam).length > 0) conf.ipam = verifyIpam(ipam)
  conf.requestedIPs = requestedIPs(raw, environment)
  const prevResult = optionalObject(raw, 'prevResult')
  if (prevResult !== undefined) conf.prevResult = parseResult(prevResult, cniVersion)
  const valid = validAttachments(raw)
  if (valid !== undefined) conf.validAttachments = valid
  return conf
}

function parseJson(stdin: string): Values {
  let raw: unknown
  try {
    raw = JSON.parse(stdin)
  } catch (error) {
    throw new CniError(CODE.decoding, `error unmarshall network config: ${(error as Error).message}`)
  }
  if (typeof raw !== 'object' || raw === null || Array.isArray(raw))
    throw new CniError(CODE.decoding, 'error unmarshall network config: not an object')
  return raw as Values
}

function verifyName(raw: Values): string {
  const name = optionalString(raw, 'name') ?? ''
  if (name === '') throw new CniError(CODE.invalidConfig, 'missing network name')
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(name)) throw new CniError(CODE.invalidConfig, 'invalid characters found in network name', name)
  return name
}

function linkKeys(raw: Values): Pick<NetConf, 'farEnd' | 'wire' | 'mtu' | 'owner' | 'group' | 'multiQueue' | 'txQLen'> {
  for (const key of ['mac', 'bridge']) {
    if (raw[key] !== undefined)
      throw new CniError(CODE.unsupportedField, `"${key}" is ${JSON.stringify(raw[key])}: a TUN device has no link layer`)
  }
  const farEnd = optionalChoice(raw, 'farEnd', ['host', 'attach']) ?? 'host'
  const owner = optionalInteger(raw, 'owner', 0, 2 ** 32 - 2)
  const group = optionalInteger(raw, 'group', 0, 2 ** 32 - 2)
  const multiQueue = optionalBoolean(raw, 'multiQueue')
  const allowAnyUser = optionalBoolean(raw, 'allowAnyUser') ?? false
  if (farEnd === 'host') {
    for (const key of ['owner', 'group', 'multiQueue', 'allowAnyUser']) {
      if (raw[key] !== undefined)
        throw new CniError(CODE.invalidConfig, `"${key}" is ${JSON.stringify(raw[key])}, but goes with "farEnd": "attach" only`)
    }
  } else if (owner === undefined && group === undefined && !allowAnyUser) {
    throw new CniError(
      CODE.invalidConfig,
      '"farEnd" is "attach" without "owner" and "group": any user could attach; set one of them, or "allowAnyUser": true',
    )
  }
  const mtu = optionalInteger(raw, 'mtu', 68, 65535) ?? annotatedMtu(raw)
  const txQLen = optionalInteger(raw, 'txQLen', 1, 2 ** 31 - 1)
  const wire = optionalChoice(raw, 'wire', ['auto', 'kernel', 'thread']) ?? 'auto'
  return { farEnd, wire, multiQueue: multiQueue ?? false, ...defined({ mtu, owner, group, txQLen }) }
}

function sharedKeys(raw: Values): Pick<NetConf, 'addressing' | 'peer' | 'ipMasq' | 'zeroMac' | 'dataDir' | 'agent' | 'ifName'> {
  const dataDir = optionalString(raw, 'dataDir') ?? '/run/tunlink'
  // sockaddr_un holds 108 bytes, unix(7)
  if (!dataDir.startsWith('/') || Buffer.byteLength(dataDir) > 90)
    throw new CniError(CODE.invalidConfig, `"dataDir" must be an absolute path of at most 90 bytes, not "${dataDir}"`)
  const agent = optionalObject(raw, 'agent') ?? {}
  const ifName = optionalString(raw, 'ifName')
  if (ifName !== undefined) verifyIfname(ifName, '"ifName"')
  return {
    addressing: optionalChoice(raw, 'addressing', ['peer', 'subnet']) ?? 'peer',
    peer: peers(raw.peer),
    ipMasq: optionalBoolean(raw, 'ipMasq') ?? false,
    zeroMac: optionalBoolean(raw, 'zeroMac') ?? false,
    dataDir,
    agent: { spawn: optionalBoolean(agent, 'spawn') ?? true, idleSeconds: optionalInteger(agent, 'idleSeconds', 0, 86400) ?? 60 },
    ...defined({ ifName }),
  }
}

/** `"A"`, `"A/24"`, or a list of them with one per family. */
function peers(value: unknown): NetConf['peer'] {
  if (value === undefined || value === null) return []
  const found = (Array.isArray(value) ? value : [value]).map(item => {
    const peer = typeof item === 'string' ? (parseCidr(item) ?? parseCidr(hostCidr(item))) : undefined
    if (peer === undefined)
      throw new CniError(
        CODE.invalidConfig,
        `"peer" must be an address, with or without prefix, or a list of them, not ${JSON.stringify(item)}`,
      )
    return peer
  })
  if (new Set(found.map(peer => peer.family)).size < found.length)
    throw new CniError(CODE.invalidConfig, `"peer" must have one address per family, not ${JSON.stringify(value)}`)
  return found.map(({ address, prefix }) => ({ address, prefix }))
}

function verifyIpam(ipam: Values): NonNullable<NetConf['ipam']> {
  if (typeof ipam.type !== 'string' || ipam.type === '')
    throw new CniError(CODE.invalidConfig, `"ipam.type" must name a plugin, not ${JSON.stringify(ipam.type)}`)
  return ipam as NonNullable<NetConf['ipam']>
}

/** runtimeConfig.dns, whose keys are not those of the configuration's `dns`. */
function runtimeDns(raw: Values): Dns | undefined {
  const dns = optionalObject(optionalObject(raw, 'runtimeConfig') ?? {}, 'dns')
  if (dns === undefined) return undefined
  return defined({
    nameservers: optionalStrings(dns, 'servers'),
    search: optionalStrings(dns, 'searches'),
    options: optionalStrings(dns, 'options'),
  })
}

/** The pod annotation `tunlink.dev/mtu`, as runtimes hand it over by capability. */
function annotatedMtu(raw: Values): number | undefined {
  const annotations = optionalObject(optionalObject(raw, 'runtimeConfig') ?? {}, 'io.kubernetes.cri.pod-annotations') ?? {}
  const mtu = annotations['tunlink.dev/mtu']
  return mtu === undefined ? undefined : optionalInteger({ 'tunlink.dev/mtu': Number(mtu) }, 'tunlink.dev/mtu', 68, 65535)
}

function requestedIPs(raw: Values, { args }: Environment): string[] {
  const runtimeConfig = optionalObject(raw, 'runtimeConfig') ?? {}
  const cniArgs = (raw.args as { cni?: Values } | undefined)?.cni ?? {}
  const environmentArgs = parseArgs(args)
  for (const [key, mac] of [
    ['runtimeConfig.mac', runtimeConfig.mac],
    ['args.cni.mac', cniArgs.mac],
    ['CNI_ARGS MAC', environmentArgs.MAC],
  ] as const) {
    if (mac !== undefined && mac !== '')
      throw new CniError(CODE.unsupportedField, `${key} is ${JSON.stringify(mac)}: a TUN device has no MAC address`)
  }
  const fromArgs = Array.isArray(cniArgs.ips) ? cniArgs.ips.filter(ip => typeof ip === 'string') : []
  const [source, ips] = (
    [
      ['runtimeConfig.ips', optionalStrings(runtimeConfig, 'ips') ?? []],
      ['args.cni.ips', fromArgs],
      ['CNI_ARGS IP', environmentArgs.IP?.split(',') ?? []],
    ] as [string, string[]][]
  ).find(([, ips]) => ips.length > 0) ?? ['', []]
  for (const ip of ips) {
    if (parseCidr(ip) === undefined && parseAddress(ip) === undefined)
      throw new CniError(CODE.invalidConfig, `${source} must be addresses, not "${ip}"`)
  }
  return [...new Set(ips)] // podman sends each twice
}

/** Go's libraries send the list as `null` when it is empty, and under an older name as well. */
function validAttachments(raw: Values): NetConf['validAttachments'] {
  const key = 'cni.dev/valid-attachments' in raw ? 'cni.dev/valid-attachments' : 'cni.dev/attachments'
  if (!(key in raw)) return undefined
  const list = raw[key] ?? []
  const valid = Array.isArray(list) && list.every(item => typeof item?.containerID === 'string' && typeof item?.ifname === 'string')
  if (!valid) throw new CniError(CODE.invalidConfig, `"${key}" must be a list of {containerID, ifname}, not ${JSON.stringify(list)}`)
  return list
}

/** Without the keys that have no value. */
function defined<T extends object>(values: T): { [K in keyof T]?: NonNullable<T[K]> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as { [K in keyof T]?: NonNullable<T[K]> }
}
