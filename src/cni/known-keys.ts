/** Keys that were meant: Go's decoder takes `ipmasq` for `ipMasq`, this program does not. */
import type { Values } from './must-be.ts'

const RANGE = ['subnet', 'rangeStart', 'rangeEnd', 'gateway']
const DNS = ['nameservers', 'domain', 'search', 'options']
const RATES = ['ingressRate', 'ingressBurst', 'egressRate', 'egressBurst']
const LINK = [
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
  ...RATES,
]
const NETWORK = ['cniVersion', 'name', 'type', 'ifName', 'dataDir', 'agent', 'dns', 'ipam', 'args', 'runtimeConfig', 'prevResult']
const IPAM = ['type', ...RANGE, 'ranges', 'pair', 'exclude', 'routes', 'dns', 'resolvConf', 'dataDir']
const ROUTE = ['dst', 'gw', 'mtu', 'advmss', 'priority', 'table', 'scope']

/** A sentence for each key of the configuration that differs from a known one in case only. */
export function misspelledKeys(raw: Values): string[] {
  return [
    ...misspelled(raw, '', [...NETWORK, ...LINK]),
    ...misspelled(raw.agent, 'agent.', ['spawn', 'idleSeconds']),
    ...misspelled(raw.dns, 'dns.', DNS),
  ]
}

/** The same for `ipam`, if it is the built-in one's. */
export function misspelledIpamKeys(ipam: Values): string[] {
  return [
    ...misspelled(ipam, 'ipam.', IPAM),
    ...listOf(ipam.ranges).flatMap((set, at) =>
      listOf(set).flatMap((range, index) => misspelled(range, `ipam.ranges[${at}][${index}].`, RANGE)),
    ),
    ...listOf(ipam.routes).flatMap((route, index) => misspelled(route, `ipam.routes[${index}].`, ROUTE)),
    ...misspelled(ipam.dns, 'ipam.dns.', DNS),
  ]
}

function misspelled(values: unknown, path: string, known: string[]): string[] {
  if (typeof values !== 'object' || values === null) return []
  return Object.keys(values).flatMap(key => {
    if (known.includes(key)) return []
    const meant = known.find(candidate => candidate.toLowerCase() === key.toLowerCase())
    return meant === undefined ? [] : [`unknown key ${JSON.stringify(path + key)}: did you mean ${JSON.stringify(meant)}?`]
  })
}

const listOf = (value: unknown): unknown[] => (Array.isArray(value) ? value : [])
