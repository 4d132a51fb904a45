/**
 * Reads a record's text as a plan. Only root may write records, but disks fill up, power fails, and
 * people edit files by hand.
 */
import { bits, familyOf, parseAddress, parseCidr } from '../address.ts'
import { verifyContainerID, verifyIfname } from '../cni/environment.ts'
import { LEAST_MTU, MOST_ID, MOST_MTU, MOST_TXQLEN } from '../cni/link-keys.ts'
import { show } from '../cni/must-be.ts'
import { hostIfname, type LinkPlan, PLAN_VERSION } from './plan.ts'

type Values = Record<string, unknown>

const isObject = (value: unknown): value is Values => typeof value === 'object' && value !== null && !Array.isArray(value)
const isText = (value: unknown): value is string => typeof value === 'string' && value !== ''
const isAddress = (value: unknown) => isText(value) && parseAddress(value) !== undefined
const isCount = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0
const isFrom = (least: number, most: number) => (value: unknown) =>
  isCount(value) && (value as number) >= least && (value as number) <= most
const isListOf = (test: (item: unknown) => boolean) => (value: unknown) => Array.isArray(value) && value.every(test)
/** True unless `verify` throws. */
const passes = (verify: (text: string) => void) => (value: unknown) => {
  try {
    verify(value as string)
    return isText(value)
  } catch {
    return false
  }
}
const isIfname = passes(name => verifyIfname(name, 'a record'))
const optional = (test: (value: unknown) => boolean) => (value: unknown) => value === undefined || test(value)

const isLinkAddress = (value: unknown) =>
  isObject(value) &&
  isAddress(value.local) &&
  isFrom(0, bits(familyOf(value.local as string)))(value.prefix) &&
  optional(peer => isAddress(peer) && familyOf(peer as string) === familyOf(value.local as string))(value.peer)

const isU32 = isFrom(0, 2 ** 32 - 1)
const ROUTE_NUMBERS = ['mtu', 'advmss', 'priority', 'table']
const isRoute = (value: unknown) =>
  isObject(value) &&
  isText(value.dst) &&
  parseCidr(value.dst) !== undefined &&
  optional(gw => isAddress(gw) && familyOf(gw as string) === familyOf(value.dst as string))(value.gw) &&
  optional(isFrom(0, 255))(value.scope) &&
  optional(onlink => typeof onlink === 'boolean')(value.onlink) &&
  ROUTE_NUMBERS.every(key => optional(isU32)(value[key]))

const isEnd = (value: unknown) =>
  isObject(value) && isIfname(value.ifname) && isListOf(isLinkAddress)(value.addresses) && isListOf(isRoute)(value.routes)

const isShape = (value: unknown) => isObject(value) && isCount(value.rate) && isCount(value.burst)

/** The validation of each field. */
export const FIELDS: Record<string, (value: unknown) => boolean> = {
  version: value => value === 1 || value === PLAN_VERSION,
  network: isText,
  containerID: passes(verifyContainerID),
  ifname: isIfname,
  cniIfname: optional(isIfname),
  farEnd: value => value === 'host' || value === 'attach',
  wire: value => value === undefined || value === 'kernel' || value === 'thread',
  netns: value => isText(value) && value.startsWith('/') && !value.includes('\0'),
  podName: optional(isText),
  started: optional(Number.isFinite),
  netnsId: optional(value => isObject(value) && isCount(value.dev) && isCount(value.ino)),
  mtu: isFrom(LEAST_MTU, MOST_MTU),
  txQLen: optional(isFrom(1, MOST_TXQLEN)),
  owner: optional(isFrom(0, MOST_ID)),
  group: optional(isFrom(0, MOST_ID)),
  multiQueue: value => typeof value === 'boolean',
  pod: isEnd,
  host: optional(isEnd),
  masquerade: isListOf(isAddress),
  toPod: optional(isShape),
  fromPod: optional(isShape),
}

/** A record that is valid but of a newer version: its link may be whole. */
export class NewerRecordError extends SyntaxError {
  override name = 'NewerRecordError'
}

/**
 * Throws SyntaxError that says what is wrong. A record without `version` is of tunlink 0.1.0, which
 * had thread wires only.
 */
export function parseRecord(text: string): LinkPlan {
  const raw: unknown = parseJson(text)
  if (!isObject(raw)) throw new SyntaxError(`it is ${show(raw)}, not a record`)
  const old = raw.version === undefined
  const plan: Values = old ? { version: 1, ...(raw.host === undefined ? {} : { wire: 'thread' }), ...raw } : raw
  if (isCount(plan.version) && (plan.version as number) > PLAN_VERSION)
    throw new NewerRecordError(`it is of version ${plan.version}, of a newer tunlink: this one knows versions up to ${PLAN_VERSION}`)
  for (const [key, test] of Object.entries(FIELDS))
    if (!test(plan[key])) throw new SyntaxError(`"${key}" is ${plan[key] === undefined ? 'missing' : show(plan[key])}`)
  const link = plan as unknown as LinkPlan
  if (link.pod.ifname !== link.ifname) throw new SyntaxError(`"pod.ifname" is ${show(link.pod.ifname)}`)
  for (const key of ['host', 'wire'] as const)
    if ((link.farEnd === 'host') !== (link[key] !== undefined))
      throw new SyntaxError(`"farEnd" is "${link.farEnd}", but "${key}" says otherwise`)
  if (link.host !== undefined && link.host.ifname !== hostIfname(link)) throw new SyntaxError(`"host.ifname" is ${show(link.host.ifname)}`)
  // DEL removes these from the firewall, and must not remove another pod's
  const foreign = link.masquerade.find(address => !link.pod.addresses.some(({ local }) => local === address))
  if (foreign !== undefined) throw new SyntaxError(`"masquerade" has ${show(foreign)}, which is none of the pod's addresses`)
  return link
}

function parseJson(text: string): unknown {
  if (text === '') throw new SyntaxError('it is empty')
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new SyntaxError(`it is not JSON: ${(error as Error).message}`)
  }
}
