/**
 * The names of the configuration's keys, and warnings about keys that are nearly one of them. Go's
 * decoder takes `ipmasq` for `ipMasq`, this program does not. docs/schema/ says what each means.
 */
import { nearest } from '../nearest.ts'
import type { Values } from './must-be.ts'

export const RANGE_KEYS = ['subnet', 'rangeStart', 'rangeEnd', 'gateway'] as const
export const DNS_KEYS = ['nameservers', 'domain', 'search', 'options'] as const
export const RATE_KEYS = ['ingressRate', 'ingressBurst', 'egressRate', 'egressBurst'] as const
export const LINK_KEYS = [
  'farEnd',
  'wire',
  'mtu',
  'addressing',
  'peer',
  'ipMasq',
  'owner',
  'group',
  'multiQueue',
  'allowAnyUser',
  'txQLen',
  'zeroMac',
  'annotations',
  ...RATE_KEYS,
] as const
export const AGENT_KEYS = ['spawn', 'idleSeconds'] as const
export const NETWORK_KEYS = [
  'cniVersion',
  'name',
  'type',
  'ifName',
  'dataDir',
  'agent',
  'dns',
  'ipam',
  'args',
  'runtimeConfig',
  'prevResult',
] as const
export const IPAM_KEYS = ['type', ...RANGE_KEYS, 'ranges', 'pair', 'exclude', 'routes', 'dns', 'resolvConf', 'dataDir'] as const
export const ROUTE_KEYS = ['dst', 'gw', 'mtu', 'advmss', 'priority', 'table', 'scope'] as const

/** A sentence for each key of the configuration that is nearly a known one. */
export function misspelledKeys(raw: Values): string[] {
  return [
    ...misspelled(raw, '', [...NETWORK_KEYS, ...LINK_KEYS]),
    ...misspelled(raw.agent, 'agent.', AGENT_KEYS),
    ...misspelled(raw.dns, 'dns.', DNS_KEYS),
  ]
}

/** The same for `ipam`, when it is the built-in IPAM's. */
export function misspelledIpamKeys(ipam: Values): string[] {
  return [
    ...misspelled(ipam, 'ipam.', IPAM_KEYS),
    ...listOf(ipam.ranges).flatMap((set, at) =>
      listOf(set).flatMap((range, index) => misspelled(range, `ipam.ranges[${at}][${index}].`, RANGE_KEYS)),
    ),
    ...listOf(ipam.routes).flatMap((route, index) => misspelled(route, `ipam.routes[${index}].`, ROUTE_KEYS)),
    ...misspelled(ipam.dns, 'ipam.dns.', DNS_KEYS),
  ]
}

function misspelled(values: unknown, path: string, known: readonly string[]): string[] {
  if (typeof values !== 'object' || values === null) return []
  return Object.keys(values).flatMap(key => {
    if (known.includes(key)) return []
    const meant = nearest(key, known)
    return meant === undefined ? [] : [`unknown key ${JSON.stringify(path + key)}: did you mean ${JSON.stringify(meant)}?`]
  })
}

const listOf = (value: unknown): unknown[] => (Array.isArray(value) ? value : [])
