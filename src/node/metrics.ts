/** Prometheus' text format: see "Exposition formats" in its documentation. */

import { capacity } from '../ipam/candidates.ts'
import { isIn, parseIpam } from '../ipam/pool.ts'
import { poolOf } from './conflist.ts'

type Labels = Record<string, string | number>

export interface Sample {
  labels?: Labels
  value: number
  /** After the name: _bucket, _sum, _count. */
  suffix?: string
}

/** One family: its name, type, help and samples. */
export function family(name: string, type: 'counter' | 'gauge' | 'histogram', help: string, samples: Sample[]): string {
  if (samples.length === 0) return ''
  const lines = samples.map(({ labels = {}, value, suffix = '' }) => `${name}${suffix}${format(labels)} ${value}`)
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${lines.join('\n')}\n`
}

function format(labels: Labels): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escapeLabel(String(value))}"`)
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`
}

const escapeLabel = (value: string) => value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')

/** One direction of a wire. */
export interface Counters {
  packets: number
  bytes: number
  drops: number
}

/** The agent's answer to `list`. */
export interface LinkCounters {
  /** Name of the node's end. */
  link: string
  network: string
  wire: string
  podToHost?: Counters
  hostToPod?: Counters
}

export function linkMetrics(links: LinkCounters[]): string {
  const samples = (key: keyof Counters): Sample[] =>
    links.flatMap(({ link, network, wire, podToHost, hostToPod }) =>
      Object.entries({ pod_to_host: podToHost, host_to_pod: hostToPod }).flatMap(([direction, counters]) =>
        counters === undefined ? [] : [{ labels: { link, network, wire, direction }, value: Number(counters[key]) }],
      ),
    )
  const packets = 'Packets passed by a link, those of a segmented one counted as one.'
  return [
    family('tunlink_links', 'gauge', 'Links whose far end is the node.', [{ value: links.length }]),
    family('tunlink_link_bytes_total', 'counter', 'Bytes passed by a link.', samples('bytes')),
    family('tunlink_link_packets_total', 'counter', packets, samples('packets')),
    family('tunlink_link_drops_total', 'counter', 'Packets dropped by a link.', samples('drops')),
  ].join('')
}

/** The agent's answer to `stats`; `counts` is not cumulative and has one more entry than `le`. */
export type Verbs = Record<
  string,
  { seconds: { le: number[]; counts: number[]; sum: number; count: number }; errors: Record<string, number> }
>

export function verbMetrics(verbs: Verbs): string {
  const durations: Sample[] = []
  const errors: Sample[] = []
  for (const [verb, { seconds, errors: codes }] of Object.entries(verbs)) {
    let total = 0
    for (const [index, le] of [...seconds.le, '+Inf'].entries()) {
      total += seconds.counts[index] ?? 0
      durations.push({ suffix: '_bucket', labels: { verb, le }, value: total })
    }
    durations.push({ suffix: '_sum', labels: { verb }, value: seconds.sum }, { suffix: '_count', labels: { verb }, value: seconds.count })
    for (const [code, value] of Object.entries(codes)) errors.push({ labels: { verb, code }, value })
  }
  return (
    family('tunlink_verb_duration_seconds', 'histogram', 'From the start of the plugin to its answer.', durations) +
    family('tunlink_verb_errors_total', 'counter', 'Failures by CNI error code.', errors)
  )
}

/**
 * The number of used addresses of each family. `leased` are the names in the network's lease
 * directory, which also has the leases of extra interfaces with pools of their own.
 */
export function poolUse(podCIDRs: string[], leased: string[]): { family: string; used: number; free: number }[] {
  if (podCIDRs.length === 0) return []
  const pool = parseIpam(poolOf(podCIDRs))
  return pool.sets.map(set => {
    const used = leased.filter(name => isIn(set, name)).length
    return { family: `IPv${set[0]!.family}`, used, free: Number(capacity(pool, set)) - used }
  })
}

export function leaseMetrics(podCIDRs: string[], leased: string[]): string {
  const samples = poolUse(podCIDRs, leased).flatMap(({ family, used, free }) => [
    { labels: { family: family.toLowerCase(), state: 'used' }, value: used },
    { labels: { family: family.toLowerCase(), state: 'free' }, value: free },
  ])
  return family('tunlink_leases', 'gauge', 'Addresses of the pod CIDRs.', samples)
}

export interface MetricsInput {
  version: string
  ready: boolean
  /** undefined when the agent does not answer. */
  links: LinkCounters[] | undefined
  verbs: Verbs | undefined
  podCIDRs: string[]
  leased: string[]
  agentStarts: number
  apiErrors: number
  routes: { wanted: number; installed: number }
  /** A gauge of counts by family and state. */
  collected: object
  /** Names of parts. */
  failing: string[]
}

export function metricsPage(input: MetricsInput): string {
  const one = (name: string, type: 'gauge' | 'counter', help: string, value: number) => family(name, type, help, [{ value }])
  const collected = Object.entries(input.collected).map(([what, value]) => ({ labels: { what }, value: Number(value) }))
  const failing = input.failing.map(part => ({ labels: { part }, value: 1 }))
  return [
    family('tunlink_build_info', 'gauge', 'The version.', [{ labels: { version: input.version }, value: 1 }]),
    one('tunlink_ready', 'gauge', 'Whether pods may be scheduled here.', input.ready ? 1 : 0),
    family('tunlink_part_failing', 'gauge', 'Parts of tunlinkd that fail now.', failing),
    input.links === undefined ? '' : linkMetrics(input.links),
    input.verbs === undefined ? '' : verbMetrics(input.verbs),
    leaseMetrics(input.podCIDRs, input.leased),
    one('tunlink_agent_starts_total', 'counter', 'How often tunlinkd has started an agent, as none answered.', input.agentStarts),
    one('tunlink_api_errors_total', 'counter', 'Requests to the Kubernetes API that failed.', input.apiErrors),
    one('tunlink_routes_wanted', 'gauge', "Routes that this node should have, its own pod CIDRs' among them.", input.routes.wanted),
    one('tunlink_routes_installed', 'gauge', 'Those that the kernel has.', input.routes.installed),
    family('tunlink_garbage_collected_total', 'counter', 'What DELs that never came have left.', collected),
  ].join('')
}
