/** `tunlink ls`. */
import type { Address } from '../linux/address-messages.ts'
import type { Counters } from '../wire/wire.ts'
import { type Command, DATA_DIR, type Given } from './command.ts'
import { type Listed, look, plansOf, podOf } from './links.ts'
import { print, printJson, progress, quantity, table } from './output.ts'

const FORMS = ['table', 'wide', 'json', 'name'] as const

export const command: Command = {
  usage: 'ls [-o wide|json|name] [OPTION...]',
  about: `Lists the links on record with their state:
  up        carries packets          down      a device was set down
  missing   a device was deleted     gone      the pod's network namespace was deleted
  unserved  no agent carries the packets of this thread wire
  attached  the far end is a process that has attached; free: none has
-o wide measures rates for a second: FROM is what the pod sends, TO is what it gets.
-o json has the counters, and rates where --interval is given.
-o name has one word a link, for LINK.`,
  options: {
    output: { value: 'FORM', short: 'o', default: 'table', help: 'table, wide, json or name' },
    interval: { value: 'SECONDS', help: 'measure rates for so long; default: 1 with -o wide, else 0' },
    'data-dir': DATA_DIR,
  },
  run: ls,
}

/** Rates per second. */
interface Rate {
  bits: number
  packets: number
}

type Row = Listed & { rates?: { fromPod: Rate; toPod: Rate } }

async function ls(given: Given): Promise<number> {
  const form = given.choice('output', FORMS)!
  const seconds = given.number('interval', 0, 3600) ?? (form === 'wide' ? 1 : 0)
  const plans = plansOf(given.dataDir)
  if (form === 'name') return print(plans.map(({ pod, ifname, host }) => `${host?.ifname ?? pod.addresses[0]?.local ?? ifname}\n`).join(''))
  const rows: Row[] = await look(plans, given.dataDir)
  if (seconds > 0 && rows.length > 0) await measure(rows, seconds, given.dataDir)
  if (form === 'json') return printJson(rows.map(toJson))
  const wide = form === 'wide'
  return print(
    table(
      wide ? [...TITLES, ...WIDE_TITLES] : TITLES,
      rows.map(row => (wide ? [...cells(row), ...wideCells(row)] : cells(row))),
    ),
  )
}

/** Adds rates to each row, measured over this many seconds. */
async function measure(rows: Row[], seconds: number, dataDir: string): Promise<void> {
  const before = performance.now()
  progress(`measuring for ${seconds} s`)
  await new Promise(resolve => setTimeout(resolve, seconds * 1000))
  progress('')
  const later = await look(
    rows.map(({ plan }) => plan),
    dataDir,
  )
  const passed = (performance.now() - before) / 1000
  for (const [at, row] of rows.entries()) {
    const now = later[at]!
    if (row.fromPod === undefined || row.toPod === undefined || now.fromPod === undefined || now.toPod === undefined) continue
    row.rates = { fromPod: rate(row.fromPod, now.fromPod, passed), toPod: rate(row.toPod, now.toPod, passed) }
  }
}

const rate = (before: Counters, after: Counters, seconds: number): Rate => ({
  bits: Math.round(((after.bytes - before.bytes) * 8) / seconds),
  packets: Math.round((after.packets - before.packets) / seconds),
})

const TITLES = ['POD', 'NETNS', 'IFNAME', 'LOCAL', 'PEER', 'FAR-END', 'WIRE', 'STATE']
const WIDE_TITLES = ['NETWORK', 'CONTAINER', 'DEVICE', 'MTU', 'FROM', 'TO']

/** Digits of a container ID that are shown, as `crictl ps` does. */
const SHORT_ID = 13

const cells = ({ plan, state }: Row): string[] => [
  plan.podName ?? podOf(plan).slice(0, SHORT_ID),
  plan.netns.replace(/^\/(var\/)?run\/netns\//, ''),
  plan.ifname,
  joined(plan.pod.addresses, ({ local, peer, prefix }) => (peer === undefined ? `${local}/${prefix}` : local)),
  joined(plan.pod.addresses, ({ peer }) => peer ?? '-'),
  plan.farEnd,
  plan.wire ?? '-',
  state,
]

const joined = (addresses: Address[], word: (address: Address) => string) => addresses.map(word).join(',') || '-'

const wideCells = ({ plan, rates }: Row): string[] => [
  plan.network,
  plan.containerID.slice(0, SHORT_ID),
  plan.host?.ifname ?? '-',
  String(plan.mtu),
  rates === undefined ? '-' : describe(rates.fromPod),
  rates === undefined ? '-' : describe(rates.toPod),
]

const describe = ({ bits, packets }: Rate) => `${quantity(bits, 'bit/s')} ${quantity(packets, 'pkt/s')}`

/** `peer`, `pod`, `device` and `rates` are absent for links that have none. */
const toJson = ({ plan, state, fromPod, toPod, rates }: Row) => ({
  network: plan.network,
  containerID: plan.containerID,
  pod: plan.podName,
  netns: plan.netns,
  ifname: plan.ifname,
  device: plan.host?.ifname,
  addresses: plan.pod.addresses,
  farEnd: plan.farEnd,
  wire: plan.wire,
  mtu: plan.mtu,
  state,
  fromPod,
  toPod,
  rates,
})
