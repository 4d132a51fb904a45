/** The ConfigMap's `config.json`: an operator's settings for all nodes. */
import { MOST_MTU } from '../cni/link-keys.ts'
import { optionalBoolean, optionalChoice, optionalInteger, optionalString, optionalStrings } from '../cni/must-be.ts'
import { nearest } from '../nearest.ts'

export const WIRES = ['auto', 'kernel', 'thread'] as const

export interface NodeConfig {
  /** Bytes; absent: what the backend can carry. */
  mtu?: number
  /** As in the plugin's configuration. */
  peer?: string | string[]
  /** What a pod may set by annotation, as in the plugin's configuration; absent: its default. */
  annotations?: string[]
  /** How packets travel, as in the plugin's configuration; absent: the plugin's default, auto. */
  wire?: (typeof WIRES)[number]
  /** Masquerade what leaves the cluster. */
  ipMasq: boolean
  dataDir: string
  /** Plugins behind ours in the conflist's chain, in this order. */
  plugins: Record<string, unknown>[]
}

/** docs/schema/node.ts says what each means. */
export const NODE_KEYS = ['mtu', 'peer', 'annotations', 'wire', 'ipMasq', 'dataDir', 'plugins'] as const

/** Bytes: what each IPv4 host must take (RFC 791). */
export const LEAST_NODE_MTU = 576

/**
 * Throws an Error that names key, value and what would be right. An empty text counts as an empty
 * object. `peer` and what is in `annotations` are validated with the conflist.
 */
export function parseConfig(text: string): NodeConfig {
  const raw = parseObject(text)
  refuseUnknown(raw)
  // as in the plugin's configuration, 0 means the default
  const mtu = raw.mtu === 0 ? undefined : optionalInteger(raw, 'mtu', LEAST_NODE_MTU, MOST_MTU)
  const config: NodeConfig = {
    ipMasq: optionalBoolean(raw, 'ipMasq') ?? true,
    dataDir: optionalString(raw, 'dataDir') ?? '/run/tunlink',
    plugins: plugins(raw.plugins),
  }
  const wire = optionalChoice(raw, 'wire', WIRES)
  const annotations = optionalStrings(raw, 'annotations')
  if (mtu !== undefined) config.mtu = mtu
  if (wire !== undefined) config.wire = wire
  if (annotations !== undefined) config.annotations = annotations
  if (raw.peer !== undefined && raw.peer !== null) config.peer = raw.peer as string | string[]
  return config
}

/** A key that is null counts as absent. */
function refuseUnknown(raw: Record<string, unknown>): void {
  const unknown = Object.keys(raw).find(key => raw[key] !== null && !(NODE_KEYS as readonly string[]).includes(key))
  if (unknown === undefined) return
  const meant = nearest(unknown, NODE_KEYS)
  const hint = meant === undefined ? `it has ${NODE_KEYS.join(', ')}` : `did you mean "${meant}"?`
  throw new SyntaxError(`${JSON.stringify(unknown)} is no key of config.json: ${hint}`)
}

function parseObject(text: string): Record<string, unknown> {
  let raw: unknown
  try {
    raw = JSON.parse(text.trim() === '' ? '{}' : text)
  } catch (error) {
    throw new SyntaxError(`config.json is not JSON: ${(error as Error).message}`)
  }
  if (typeof raw !== 'object' || raw === null || Array.isArray(raw)) throw new SyntaxError('config.json must be a JSON object')
  return raw as Record<string, unknown>
}

function plugins(value: unknown): NodeConfig['plugins'] {
  if (value === undefined || value === null) return []
  const valid = Array.isArray(value) && value.every(plugin => typeof plugin?.type === 'string' && /^[^/]+$/.test(plugin.type))
  if (!valid) throw new SyntaxError(`"plugins" must be a list of plugin configurations, each with a "type", not ${JSON.stringify(value)}`)
  return value
}
