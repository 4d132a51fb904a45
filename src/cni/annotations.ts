/**
 * Settings of one pod by its annotations, as runtimes hand them over by the capability
 * `io.kubernetes.cri.pod-annotations`: `tunlink.dev/mtu` for the pod's own interface,
 * `tunlink.dev/tun0.mtu` for an extra one that the configuration's `ifName` calls tun0. Whoever may
 * make a pod writes them, so that the network's configuration says which of them count.
 */
import { parseAddress, parseCidr } from '../address.ts'
import { CniError, CODE } from './error.ts'
import { optionalObject, optionalString, optionalStrings, RUNTIME_CONFIG, refuse, show, type Values } from './must-be.ts'

/** The settings, by the name behind the prefix. */
export const SETTINGS = ['mtu', 'peer', 'addresses', 'owner', 'group', 'far-end'] as const
export type Setting = (typeof SETTINGS)[number]

/** What counts without the key `annotations`: a smaller MTU hurts nobody but the pod. */
const ALLOWED: Setting[] = ['mtu']

/** An annotation's text, and how errors call it. */
export interface Annotation {
  name: string
  text: string
}

export type Annotations = { [K in Setting]?: Annotation }

/** The key `annotations`: what a pod may set. Throws CniError 7. */
export function allowedSettings(raw: Values): readonly Setting[] {
  const allowed = optionalStrings(raw, 'annotations') ?? ALLOWED
  if (!allowed.every(isSetting)) throw refuse('annotations', `a list of ${SETTINGS.join(', ')}`, raw.annotations)
  return allowed
}

const isSetting = (name: string): name is Setting => SETTINGS.includes(name as Setting)

/** All of the pod's annotations; none where the runtime gives none. Throws CniError 7. */
export const podAnnotations = (raw: Values): Values =>
  optionalObject(optionalObject(raw, 'runtimeConfig') ?? {}, 'io.kubernetes.cri.pod-annotations', RUNTIME_CONFIG) ?? {}

/**
 * The annotations about the interface of this configuration. Throws CniError 7 for one that the
 * configuration does not allow or that nobody knows: a pod that did not get what it asks for would
 * be found out by its failures only.
 */
export function annotationsOf(raw: Values): Annotations {
  const allowed = allowedSettings(raw)
  const prefix = `tunlink.dev/${interfacePrefix(raw)}`
  const found: Annotations = {}
  for (const [name, text] of Object.entries(podAnnotations(raw))) {
    const setting = name.startsWith(prefix) ? name.slice(prefix.length) : '.'
    if (setting.includes('.')) continue // of another interface, or none of ours
    if (!isSetting(setting)) throw refusal(name, text, `this tunlink knows ${SETTINGS.map(known => prefix + known).join(', ')}`)
    if (!allowed.includes(setting)) {
      const what = allowed.length === 0 ? 'no annotation' : `${allowed.join(', ')} alone`
      throw refusal(name, text, `this network lets a pod set ${what}: see "annotations" in its configuration`)
    }
    if (typeof text !== 'string') throw mustBe({ name, text: text as string }, 'a string')
    found[setting] = { name, text }
  }
  return found
}

function interfacePrefix(raw: Values): string {
  const ifName = optionalString(raw, 'ifName')
  return ifName === undefined ? '' : `${ifName}.`
}

/** `annotation "tunlink.dev/owner" is "0", but ...` */
export const refusal = (name: string, text: unknown, reason: string) =>
  new CniError(CODE.invalidConfig, `annotation "${name}" is ${show(text)}, but ${reason}`)

/** `annotation "tunlink.dev/mtu" must be ..., not "x"` */
export const mustBe = ({ name, text }: Annotation, what: string) =>
  new CniError(CODE.invalidConfig, `annotation "${name}" must be ${what}, not ${show(text)}`)

/** Decimal digits alone, as annotations have no numbers. Throws CniError 7. */
export function annotatedInteger(annotation: Annotation | undefined, least: number, most: number): number | undefined {
  if (annotation === undefined) return undefined
  const value = /^\d+$/.test(annotation.text) ? Number(annotation.text) : Number.NaN
  if (!(value >= least && value <= most)) throw mustBe(annotation, `an integer from ${least} to ${most}`)
  return value
}

/** Throws CniError 7. */
export function annotatedChoice<T extends string>(annotation: Annotation | undefined, choices: readonly T[]): T | undefined {
  if (annotation === undefined) return undefined
  if (!choices.includes(annotation.text as T)) throw mustBe(annotation, choices.map(choice => `"${choice}"`).join(' or '))
  return annotation.text as T
}

/** Addresses between commas, each with or without a prefix. Throws CniError 7. */
export function annotatedAddresses(annotation: Annotation | undefined): string[] | undefined {
  if (annotation === undefined) return undefined
  const addresses = annotation.text.split(',').map(address => address.trim())
  if (!addresses.every(address => parseCidr(address) !== undefined || parseAddress(address) !== undefined))
    throw mustBe(annotation, 'addresses between commas')
  return addresses
}
