/** A device much as ip(8) prints it: `ip -d address show`, then each line of `ip route show`. */
import { bits, familyOf } from '../address.ts'
import type { LinkPlan } from '../link/plan.ts'
import { type Address, addressList } from '../linux/address-messages.ts'
import { type Link, linkFind } from '../linux/link.ts'
import { NetlinkSocket } from '../linux/netlink.ts'
import { inNetns } from '../linux/netns.ts'
import { type Route, routeList } from '../linux/route.ts'
import { IFF_NOARP, IFF_POINTOPOINT, IFF_UP, RT_TABLE_MAIN } from '../linux/uapi.ts'

export interface Device {
  link: Link
  addresses: Address[]
  routes: Route[]
}

/**
 * The device `name` of the node, or of the pod of `plan`; a sentence when it is missing or cannot
 * be read.
 */
export function deviceIn(name: string, plan?: Pick<LinkPlan, 'netns'>): Device | string {
  const read = () => {
    using netlink = new NetlinkSocket()
    const link = linkFind(netlink, name)
    if (link === undefined) return `device ${name} is missing`
    return { link, addresses: addressList(netlink, link.index), routes: routeList(netlink, link.index) }
  }
  try {
    return plan === undefined ? read() : inNetns(plan.netns, read)
  } catch (error) {
    return `device ${name} cannot be looked at: ${(error as Error).message}`
  }
}

export function printDevice({ link, addresses, routes }: Device): string[] {
  const { index, name, mtu, txQLen, kind, alias, mac } = link
  return [
    `${index}: ${name}: <${flags(link)}> mtu ${mtu} qlen ${txQLen}`,
    `    link/${kind === 'tun' ? 'none' : `ether ${mac ?? ''}`.trim()} ${kind ?? ''}${tunWords(link)}`.trimEnd(),
    ...(alias === undefined ? [] : [`    alias ${alias}`]),
    ...addresses.map(address => `    ${inet(address.local)} ${addressWords(address)}`),
    ...routes.map(route => `    route ${routeWords(route)}`),
  ]
}

const FLAGS: [flag: number, name: string][] = [
  [IFF_POINTOPOINT, 'POINTOPOINT'],
  [IFF_NOARP, 'NOARP'],
  [IFF_UP, 'UP'],
]

/** Flags in the order of ip(8); `running` is its LOWER_UP. */
const flags = ({ flags, running }: Link): string =>
  [
    ...(running ? [] : ['NO-CARRIER']),
    ...FLAGS.filter(([flag]) => flags & flag).map(([, name]) => name),
    ...(running ? ['LOWER_UP'] : []),
  ].join(',')

function tunWords({ tun }: Link): string {
  if (tun === undefined) return ''
  const { persist, multiQueue, owner, group } = tun
  return ` type tun${multiQueue ? ' multi_queue' : ''} persist ${persist ? 'on' : 'off'}${owner === undefined ? '' : ` user ${owner}`}${group === undefined ? '' : ` group ${group}`}`
}

const inet = (address: string) => (familyOf(address) === 4 ? 'inet' : 'inet6')

const addressWords = ({ local, peer, prefix }: Address) => (peer === undefined ? `${local}/${prefix}` : `${local} peer ${peer}/${prefix}`)

function routeWords({ dst, gw, mtu, advmss, priority, table }: Route): string {
  const words: [name: string, value: string | number | undefined][] = [
    ['via', gw],
    ['table', table === RT_TABLE_MAIN ? undefined : table],
    ['metric', priority],
    ['mtu', mtu],
    ['advmss', advmss],
  ]
  return [destination(dst), ...words.filter(([, value]) => value !== undefined).map(([name, value]) => `${name} ${value}`)].join(' ')
}

function destination(dst: string): string {
  const [address, prefix] = dst.split('/')
  if (prefix === '0') return 'default'
  return Number(prefix) === bits(familyOf(dst)) ? address! : dst
}
