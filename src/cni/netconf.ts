/**
 * The network configuration on standard input: see "Network configuration format" in the CNI
 * specification, and docs/configuration.md. What the runtime says of one pod is in
 * runtime-config.ts.
 */
import { type Annotation, type Annotations, annotationsOf, refusal } from './annotations.ts'
import { dataDirOf } from './data-dir.ts'
import { type Environment, verifyIfname } from './environment.ts'
import { CniError, CODE } from './error.ts'
import { parseObject } from './json.ts'
import { misspelledIpamKeys, misspelledKeys } from './known-keys.ts'
import { agentKeys, LINK_DEFAULTS, type LinkKeys, lenientAgentKeys, linkKeys } from './link-keys.ts'
import { defined, optionalObject, optionalString, refuse, type Values } from './must-be.ts'
import { type Dns, optionalDns, type Result } from './result.ts'
import { podKeys, prevResultOf, requestedIPs, validAttachments } from './runtime-config.ts'
import { verifyVersion } from './version.ts'

export interface NetConf extends LinkKeys {
  cniVersion: string
  name: string
  type: string
  dataDir: string
  agent: { spawn: boolean; idleSeconds: number }
  /** Name of the pod's end instead of CNI_IFNAME, for an extra interface in a chain. */
  ifName?: string
  /** In place of all that the IPAM says. */
  dns?: Dns
  ipam?: { type: string } & Values
  /**
   * Addresses with or without prefix: of runtimeConfig.ips, else the pod's annotation, else
   * args.cni.ips, else CNI_ARGS IP.
   */
  requestedIPs: string[]
  /** Which of these asked, in the words of an error. */
  requestedBy?: string
  prevResult?: Result
  /** GC's list; undefined when the runtime sent none. */
  validAttachments?: { containerID: string; ifname: string }[]
  /** Sentences for standard error. */
  warnings: string[]
}

/** The words of the reference library. */
const WHAT = 'error unmarshall network config'

/** The name that the configuration gives the built-in IPAM. */
export const BUILT_IN_IPAM = 'tunlink'

/** What every verb needs: which link, where its record is, and which IPAM gave its addresses. */
type Identity = Pick<NetConf, 'cniVersion' | 'name' | 'type' | 'dataDir' | 'ifName' | 'ipam'>

/**
 * Throws CniError 1, 2, 4, 6 or 7, before anything has been done. A verb validates only the keys
 * that it uses: so a link can be removed when ADD would refuse its configuration. Keys that are not
 * read have their defaults.
 */
export function parseNetConf(stdin: string, environment: Environment): NetConf {
  const raw = parseObject(stdin, WHAT)
  const { command } = environment
  const identity = parseIdentity(raw, command)
  const rest = { ...LINK_DEFAULTS, agent: lenientAgentKeys(raw), requestedIPs: [], warnings: [] }
  switch (command) {
    case 'ADD': {
      refuseList(raw)
      const pod = annotationsOf(raw)
      refuseUnleased(pod.addresses, identity.ipam?.type)
      const network = networkKeys(raw, identity, pod)
      return { ...identity, ...network, ...podKeys(raw, environment, identity.cniVersion, pod.addresses) }
    }
    case 'STATUS':
      return { ...identity, ...networkKeys(raw, identity), requestedIPs: [] }
    case 'CHECK':
      return { ...identity, ...rest, ...defined({ prevResult: prevResultOf(raw, identity.cniVersion) }) }
    case 'GC':
      return { ...identity, ...rest, ...defined({ validAttachments: validAttachments(raw) }) }
    default:
      return { ...identity, ...rest }
  }
}

/**
 * The keys that the built-in IPAM uses of another plugin's configuration. Throws as parseNetConf()
 * does.
 */
export function parseIpamConf(
  stdin: string,
  environment: Environment,
): Pick<NetConf, 'cniVersion' | 'name' | 'requestedIPs' | 'validAttachments' | 'warnings'> & { ipam: Values } {
  const raw = parseObject(stdin, WHAT)
  const { command } = environment
  const { cniVersion, name } = versionAndName(raw, command)
  const ipam = optionalObject(raw, 'ipam') ?? {}
  return {
    cniVersion,
    name,
    ipam,
    requestedIPs: command === 'ADD' ? requestedIPs(raw, environment).requestedIPs : [],
    warnings: command === 'ADD' || command === 'STATUS' ? misspelledIpamKeys(ipam) : [],
    ...(command === 'GC' ? defined({ validAttachments: validAttachments(raw) }) : {}),
  }
}

/** Somebody calls the plugin by hand. */
function refuseList({ type, plugins }: Values): void {
  if (type === undefined && Array.isArray(plugins))
    throw new CniError(
      CODE.invalidConfig,
      'this is a whole conflist, with "plugins": a plugin gets its own entry, with "name" and "cniVersion"',
    )
}

function parseIdentity(raw: Values, command: string): Identity {
  const ifName = optionalString(raw, 'ifName')
  if (ifName !== undefined) verifyIfname(ifName, '"ifName"')
  const ipam = optionalObject(raw, 'ipam')
  return {
    ...versionAndName(raw, command),
    type: typeof raw.type === 'string' && raw.type !== '' ? raw.type : 'tunlink',
    dataDir: dataDirOf(raw),
    ...defined({ ifName }),
    ...(ipam === undefined || Object.keys(ipam).length === 0 ? {} : { ipam: verifyIpam(ipam) }),
  }
}

function versionAndName(raw: Values, command: string): Pick<NetConf, 'cniVersion' | 'name'> {
  // the reference library's value for an absent key
  const cniVersion = optionalString(raw, 'cniVersion') ?? '0.1.0'
  const name = verifyName(raw)
  verifyVersion(cniVersion, command)
  return { cniVersion, name }
}

/** NAME_MAX of <linux/limits.h>: a directory has this name. */
export const NAME_MAX = 255

/** The key `name`. Throws CniError 7. */
function verifyName(raw: Values): string {
  const name = optionalString(raw, 'name') ?? ''
  verifyNetwork(name)
  return name
}

/** Throws CniError 7 for text that cannot name a network. */
export function verifyNetwork(name: string): void {
  if (name === '') throw new CniError(CODE.invalidConfig, 'missing network name')
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(name)) throw new CniError(CODE.invalidConfig, 'invalid characters found in network name', name)
  if (name.length > NAME_MAX) throw refuse('name', `a name of at most ${NAME_MAX} characters`, name)
}

function verifyIpam(ipam: Values): NonNullable<NetConf['ipam']> {
  if (typeof ipam.type !== 'string' || ipam.type === '')
    throw refuse('type', 'the name of a plugin', ipam.type, { path: 'ipam.', code: CODE.invalidConfig })
  return ipam as NonNullable<NetConf['ipam']>
}

/** Without a lease of ours nobody sees to it that two pods do not ask for the same address. */
function refuseUnleased(annotation: Annotation | undefined, ipamType: string | undefined): void {
  if (annotation === undefined || ipamType === BUILT_IN_IPAM) return
  const reason = ipamType === undefined ? 'the network has no "ipam"' : `"ipam.type" is "${ipamType}"`
  throw refusal(annotation.name, annotation.text, `${reason}: only the built-in "${BUILT_IN_IPAM}" leases what an annotation asks for`)
}

/** `pod`: see linkKeys(). */
function networkKeys(raw: Values, { ipam }: Identity, pod?: Annotations): LinkKeys & Pick<NetConf, 'agent' | 'dns' | 'warnings'> {
  return {
    ...linkKeys(raw, pod),
    agent: agentKeys(raw),
    ...defined({ dns: optionalDns(raw, 'dns') }),
    warnings: [...misspelledKeys(raw), ...(ipam?.type === BUILT_IN_IPAM ? misspelledIpamKeys(ipam) : [])],
  }
}
