/**
 * The capability "bandwidth" (CNI conventions): how fast a pod may receive (ingress) and send
 * (egress). From runtimeConfig.bandwidth, else from the pod's annotations, else from the same keys
 * of the configuration itself, as the reference plugin `bandwidth` has them.
 */
import { podAnnotations } from './annotations.ts'
import { CniError, CODE } from './error.ts'
import {
  CONFIGURATION,
  defined,
  optionalInteger,
  optionalObject,
  type Place,
  RUNTIME_CONFIG,
  refuse,
  show,
  type Values,
  within,
} from './must-be.ts'

/** `rate` in bits per second, `burst` in bits that may pass at once. */
export interface Rate {
  rate: number
  burst: number
}

/** An absent direction is unlimited. */
export interface Bandwidth {
  ingress?: Rate
  egress?: Rate
}

/** Bits per second: at least one byte, at most what a number of JSON can hold exactly. */
export const [LEAST_RATE, MOST_RATE] = [8, Number.MAX_SAFE_INTEGER]
/** Bits: the kernel counts bursts in bytes, in 32 bits. */
export const MOST_BURST = 8 * (2 ** 32 - 1)

const ANNOTATIONS = { ingress: 'kubernetes.io/ingress-bandwidth', egress: 'kubernetes.io/egress-bandwidth' }
/**
 * The burst that goes with an annotation, which has none: what flows in a hundredth of a second.
 */
const burstOf = (rate: number) => Math.min(Math.max(Math.ceil(rate / 100), 8 * 64 * 1024), MOST_BURST)

/** Throws CniError 7. */
export function bandwidthOf(raw: Values): Bandwidth {
  const asked = runtimeBandwidth(raw)
  if (asked !== undefined) return fromKeys(asked, within(RUNTIME_CONFIG, 'bandwidth'))
  return { ...fromKeys(raw, CONFIGURATION), ...fromAnnotations(ownAnnotations(raw)) }
}

/** What limits the ingress, and its value, in the words of an error. */
export function ingressSource(raw: Values): string {
  const asked = runtimeBandwidth(raw)
  if (asked !== undefined) return `"runtimeConfig.bandwidth.ingressRate" is ${show(asked.ingressRate)}`
  const text = ownAnnotations(raw)[ANNOTATIONS.ingress]
  return text === undefined ? `"ingressRate" is ${show(raw.ingressRate)}` : `annotation "${ANNOTATIONS.ingress}" is ${show(text)}`
}

const runtimeBandwidth = (raw: Values): Values | undefined =>
  optionalObject(optionalObject(raw, 'runtimeConfig') ?? {}, 'bandwidth', RUNTIME_CONFIG)

/** Kubernetes means the pod's own interface, not an extra one behind it. */
const ownAnnotations = (raw: Values): Values => (raw.ifName === undefined ? podAnnotations(raw) : {})

const fromKeys = (values: Values, place: Place): Bandwidth =>
  defined({ ingress: rateOf(values, 'ingress', place), egress: rateOf(values, 'egress', place) })

/** Go's zero value means that there is no limit. */
function rateOf(values: Values, direction: 'ingress' | 'egress', place: Place): Rate | undefined {
  const [rateKey, burstKey] = [`${direction}Rate`, `${direction}Burst`]
  const rate = values[rateKey] === 0 ? undefined : optionalInteger(values, rateKey, LEAST_RATE, MOST_RATE, place)
  const burst = values[burstKey] === 0 ? undefined : optionalInteger(values, burstKey, LEAST_RATE, MOST_BURST, place)
  if (rate === undefined && burst === undefined) return undefined
  if (rate === undefined) throw refuse(rateKey, `set where "${burstKey}" is`, values[rateKey], place)
  if (burst === undefined) throw refuse(burstKey, `set where "${rateKey}" is`, values[burstKey], place)
  return { rate, burst }
}

function fromAnnotations(annotations: Values): Bandwidth {
  const rate = (name: string): Rate | undefined => {
    const text = annotations[name]
    if (text === undefined) return undefined
    const bits = typeof text === 'string' ? quantity(text) : undefined
    if (bits === undefined || bits < LEAST_RATE || bits > MOST_RATE)
      throw new CniError(
        CODE.invalidConfig,
        `annotation "${name}" must be a rate in bits per second such as "10M", not ${JSON.stringify(text)}`,
      )
    return { rate: bits, burst: burstOf(bits) }
  }
  return defined({ ingress: rate(ANNOTATIONS.ingress), egress: rate(ANNOTATIONS.egress) })
}

const DECIMAL: Record<string, number> = { '': 1, k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15, E: 1e18 }
const BINARY: Record<string, number> = { Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30, Ti: 2 ** 40, Pi: 2 ** 50, Ei: 2 ** 60 }

/** A Kubernetes quantity such as "10M", "1.5Gi", "1e6", in whole bits; undefined for other text. */
function quantity(text: string): number | undefined {
  const [, digits, unit, exponent] = /^\+?(\d+\.?\d*|\.\d+)(?:(k|[MGTPE]|[KMGTPE]i)|[eE]([+-]?\d{1,3}))?$/.exec(text) ?? []
  if (digits === undefined) return undefined
  const factor = exponent === undefined ? { ...DECIMAL, ...BINARY }[unit ?? '']! : 10 ** Number(exponent)
  return Math.round(Number(digits) * factor)
}
