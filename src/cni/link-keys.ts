/** Keys of the configuration, and annotations of the pod, that describe a link; and `agent`. */
import { hostCidr, isHostAddress, parseCidr } from '../address.ts'
import {
  type Annotation,
  type Annotations,
  allowedSettings,
  annotatedAddresses,
  annotatedChoice,
  annotatedInteger,
  mustBe,
  refusal,
} from './annotations.ts'
import { type Bandwidth, bandwidthOf, ingressSource } from './bandwidth.ts'
import { CniError, CODE } from './error.ts'
import {
  CONFIGURATION,
  defined,
  optionalBoolean,
  optionalChoice,
  optionalInteger,
  optionalObject,
  refuse,
  type Values,
  within,
} from './must-be.ts'

const FAR_ENDS = ['host', 'attach'] as const

export interface LinkKeys {
  farEnd: 'host' | 'attach'
  /**
   * What carries the packets: the kernel, a thread of the agent, or (auto) the first of these that
   * this node supports.
   */
  wire: 'auto' | 'kernel' | 'thread'
  /** Bytes. */
  mtu?: number
  /** Where `mtu` was found, as errors name it. */
  mtuSource?: string
  addressing: 'peer' | 'subnet'
  /**
   * The far end's addresses, at most one per family. The pod routes the whole prefix to the far
   * end.
   */
  peer: { address: string; prefix: number }[]
  /** The annotation that `peer` comes from, as errors name it; absent for the configured one. */
  peerSource?: string
  ipMasq: boolean
  /** Print an all-zero `mac`: podman's CNI backend refuses a result without one. */
  zeroMac: boolean
  owner?: number
  group?: number
  multiQueue: boolean
  txQLen?: number
  bandwidth: Bandwidth
}

export const LINK_DEFAULTS: LinkKeys = {
  farEnd: 'host',
  wire: 'auto',
  addressing: 'peer',
  peer: [],
  ipMasq: false,
  zeroMac: false,
  multiQueue: false,
  bandwidth: {},
}

/** Bytes: the smallest MTU that IPv4 allows (RFC 791), and MAX_MTU of the kernel's TUN driver. */
export const [LEAST_MTU, MOST_MTU] = [68, 65535]

/** The largest uid_t and gid_t: the number above means "no change", or "anybody". */
export const MOST_ID = 2 ** 32 - 2

/** Packets: the kernel shows the length as a signed integer. */
export const MOST_TXQLEN = 2 ** 31 - 1

/**
 * `pod` is what the pod's annotations say, each of which the configuration allows; undefined where
 * no pod is asked about. Throws CniError 2 or 7.
 */
export function linkKeys(raw: Values, pod?: Annotations): LinkKeys {
  for (const key of ['mac', 'bridge']) {
    if (raw[key] !== undefined)
      throw new CniError(CODE.unsupportedField, `"${key}" is ${JSON.stringify(raw[key])}: a TUN device has no link layer`)
  }
  const configured = optionalChoice(raw, 'farEnd', FAR_ENDS) ?? 'host'
  const farEnd = annotatedChoice(pod?.['far-end'], FAR_ENDS) ?? configured
  refuseForeignKeys(raw, configured)
  if (allowedSettings(raw).includes('far-end')) {
    // the keys of both count, whichever a pod chooses
    hostKeys(raw)
    attachKeys(raw, undefined, '"annotations" allows "far-end"')
  }
  if (farEnd === 'host') refuseForAttach(pod)
  return {
    farEnd,
    ...(farEnd === 'host' ? hostKeys(raw) : attachKeys(raw, pod, `${sourceOf(pod?.['far-end'], 'farEnd')} is "attach"`)),
    addressing: optionalChoice(raw, 'addressing', ['peer', 'subnet']) ?? 'peer',
    peer: annotatedPeers(pod?.peer) ?? peers(raw.peer),
    ...(pod?.peer === undefined ? {} : { peerSource: sourceOf(pod.peer, 'peer') }),
    ipMasq: optionalBoolean(raw, 'ipMasq') ?? false,
    zeroMac: optionalBoolean(raw, 'zeroMac') ?? false,
    bandwidth: bandwidth(raw, farEnd, pod?.['far-end']),
    ...mtuKeys(raw, pod?.mtu),
    ...defined({ txQLen: optionalInteger(raw, 'txQLen', 1, MOST_TXQLEN) }),
  }
}

/** The annotation wins over the configured MTU, up to that. */
function mtuKeys(raw: Values, annotation: Annotation | undefined): Pick<LinkKeys, 'mtu' | 'mtuSource'> {
  // Go's zero value means the default
  const configured = raw.mtu === 0 ? undefined : optionalInteger(raw, 'mtu', LEAST_MTU, MOST_MTU)
  const mtu = annotatedInteger(annotation, LEAST_MTU, MOST_MTU)
  if (annotation === undefined || mtu === undefined) return configured === undefined ? {} : { mtu: configured, mtuSource: '"mtu"' }
  if (configured !== undefined && mtu > configured) throw mustBe(annotation, `at most the network's "mtu" ${configured}`)
  return { mtu, mtuSource: sourceOf(annotation, 'mtu') }
}

/**
 * With the far end `attach`, the process that attached writes the incoming packets: they pass no
 * queue that could be limited.
 */
function bandwidth(raw: Values, farEnd: LinkKeys['farEnd'], annotation: Annotation | undefined): Bandwidth {
  const found = bandwidthOf(raw)
  if (farEnd === 'attach' && found.ingress !== undefined) {
    const clash = annotation === undefined ? 'goes with "farEnd": "host" only' : `${sourceOf(annotation, 'farEnd')} is "attach"`
    throw new CniError(CODE.invalidConfig, `${ingressSource(raw)}, but ${clash}: what comes in is written by whoever attached`)
  }
  return found
}

const HOST_KEYS = ['wire']
const ATTACH_KEYS = ['owner', 'group', 'multiQueue', 'allowAnyUser']

/** Keys of the far end that no link has. Where pods choose it, there may be keys of both. */
function refuseForeignKeys(raw: Values, configured: LinkKeys['farEnd']): void {
  if (allowedSettings(raw).includes('far-end')) return
  if (configured === 'host') refuseKeys(raw, ATTACH_KEYS, '"farEnd": "attach" only')
  else refuseKeys(raw, HOST_KEYS, '"farEnd": "host" only: whoever attaches carries the packets')
}

/** The peer of a link to the node is an address of the node, which is not a pod's to choose. */
function refuseForAttach(pod: Annotations = {}): void {
  for (const annotation of [pod.owner, pod.group, pod.peer]) {
    if (annotation !== undefined) throw refusal(annotation.name, annotation.text, 'goes with the far end "attach" only, and this is "host"')
  }
}

const hostKeys = (raw: Values): Pick<LinkKeys, 'wire' | 'multiQueue'> => ({
  wire: optionalChoice(raw, 'wire', ['auto', 'kernel', 'thread']) ?? 'auto',
  multiQueue: false,
})

/** How errors name what has a value: the annotation, else the key. */
const sourceOf = (annotation: Annotation | undefined, key: string) =>
  annotation === undefined ? `"${key}"` : `annotation "${annotation.name}"`

/** `attaching` says in an error what makes the far end "attach". */
function attachKeys(
  raw: Values,
  pod: Annotations | undefined,
  attaching: string,
): Pick<LinkKeys, 'wire' | 'multiQueue' | 'owner' | 'group'> {
  const owner = annotatedInteger(pod?.owner, 0, MOST_ID) ?? optionalInteger(raw, 'owner', 0, MOST_ID)
  const group = annotatedInteger(pod?.group, 0, MOST_ID) ?? optionalInteger(raw, 'group', 0, MOST_ID)
  const allowAnyUser = optionalBoolean(raw, 'allowAnyUser') ?? false
  const podsSayIt = allowedSettings(raw).some(setting => setting === 'owner' || setting === 'group')
  if (owner === undefined && group === undefined && !allowAnyUser && !(pod === undefined && podsSayIt))
    throw new CniError(
      CODE.invalidConfig,
      `${attaching} without "owner" and "group": any user could attach; set one of them${podsSayIt ? ', there or by annotation' : ''}, or "allowAnyUser": true`,
    )
  return { wire: 'auto', multiQueue: optionalBoolean(raw, 'multiQueue') ?? false, ...defined({ owner, group }) }
}

function refuseKeys(raw: Values, keys: string[], goesWith: string): void {
  for (const key of keys) {
    if (raw[key] !== undefined) throw new CniError(CODE.invalidConfig, `"${key}" is ${JSON.stringify(raw[key])}, but goes with ${goesWith}`)
  }
}

/** `"A"`, `"A/24"`, or a list of them with one per family. */
function peers(value: unknown): LinkKeys['peer'] {
  if (value === undefined || value === null) return []
  const found = (Array.isArray(value) ? value : [value]).map(item => {
    const peer = typeof item === 'string' ? withPrefix(item) : undefined
    if (peer === undefined) throw refuse('peer', 'an address, with or without prefix, or a list of them', item)
    if (!isHostAddress(peer)) throw refuse('peer', A_HOST, item)
    return peer
  })
  if (!isOnePerFamily(found)) throw refuse('peer', 'a list with one address per family', value)
  return found.map(({ address, prefix }) => ({ address, prefix }))
}

const A_HOST = 'the address of a host: not unspecified, loopback, multicast or broadcast'

const withPrefix = (text: string) => parseCidr(text) ?? parseCidr(hostCidr(text))

const isOnePerFamily = (found: { family: number }[]) => new Set(found.map(({ family }) => family)).size === found.length

function annotatedPeers(annotation: Annotation | undefined): LinkKeys['peer'] | undefined {
  const found = annotatedAddresses(annotation)?.map(text => withPrefix(text)!)
  if (annotation !== undefined && !isOnePerFamily(found!)) throw refusal(annotation.name, annotation.text, 'there is one peer per family')
  if (annotation !== undefined && !found!.every(isHostAddress)) throw mustBe(annotation, A_HOST)
  return found?.map(({ address, prefix }) => ({ address, prefix }))
}

export const AGENT_DEFAULTS = { spawn: true, idleSeconds: 60 }
/** The most that `agent.idleSeconds` may be. */
export const DAY_SECONDS = 24 * 60 * 60

/** Throws CniError 7. */
export function agentKeys(raw: Values): { spawn: boolean; idleSeconds: number } {
  const place = within(CONFIGURATION, 'agent')
  const agent = optionalObject(raw, 'agent') ?? {}
  return {
    spawn: optionalBoolean(agent, 'spawn', place) ?? AGENT_DEFAULTS.spawn,
    idleSeconds: optionalInteger(agent, 'idleSeconds', 0, DAY_SECONDS, place) ?? AGENT_DEFAULTS.idleSeconds,
  }
}

/** For verbs that can do without `agent`: an invalid value counts as absent. */
export function lenientAgentKeys(raw: Values): { spawn: boolean; idleSeconds: number } {
  try {
    return agentKeys(raw)
  } catch {
    return AGENT_DEFAULTS
  }
}
