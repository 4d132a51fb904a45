/** A node as tunlink 0.1.0 left it: fixtures/0.1.0, and the devices that it made from them. */
import { linkSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { inside, type Lab } from '../support.ts'

const fixtures = join(import.meta.dirname, 'fixtures/0.1.0')

export const fixture = (name: string) => readFileSync(join(fixtures, name), 'utf8')

interface End {
  ifname: string
  addresses: { local: string; peer: string; prefix: number }[]
  routes: { dst: string; gw: string; onlink?: boolean }[]
}

/** As much of a record as its devices need. */
export interface OldRecord {
  containerID: string
  netns: string
  mtu: number
  owner?: number
  pod: End
  host?: End
}

/** The link of a fixture, `c-host` or `c-attach`, between the lab's node and `pod`; its record. */
export function makeOldLink(lab: Lab, name: 'c-host' | 'c-attach', pod: string): OldRecord {
  const text = fixture(`${name}.json`).trim().replace('NETNS', pod)
  const record: OldRecord = JSON.parse(text)
  const [links, leases] = [join(lab.dataDir, 'links/net'), join(lab.dataDir, 'ipam/net')]
  for (const directory of [links, join(leases, '.owners')]) mkdirSync(directory, { recursive: true, mode: 0o700 })
  writeFileSync(join(links, `${name}:eth0.json`), text, { mode: 0o600 })
  const owner = join(leases, '.owners', `${name}:eth0`)
  writeFileSync(owner, fixture(`${name}.owner`), { mode: 0o600 })
  for (const { local } of record.pod.addresses) linkSync(owner, join(leases, local))
  makeDevice(pod, record, record.pod)
  if (record.host !== undefined) makeDevice(lab.node, record, record.host)
  return record
}

/**
 * What 0.1.0 set over netlink, by ip(8); with the table, which it made for a link that masquerades.
 */
function makeDevice(netns: string, { containerID, mtu, owner, host }: OldRecord, end: End): void {
  const tuntap = ['tuntap', 'add', 'dev', end.ifname, 'mode', 'tun']
  const options = [...(host === undefined ? [] : ['vnet_hdr']), ...(owner === undefined ? [] : ['user', String(owner)])]
  const run = (...args: string[]) => inside(netns, 'ip', ...args)
  run(...tuntap, ...options)
  run('link', 'set', end.ifname, 'mtu', String(mtu), 'alias', `tunlink:net/${containerID}/eth0`, 'addrgenmode', 'none')
  run('link', 'set', end.ifname, 'up')
  for (const { local, peer, prefix } of end.addresses)
    run('address', 'add', local, 'peer', `${peer}/${prefix}`, 'dev', end.ifname, ...(local.includes(':') ? ['nodad'] : []))
  for (const { dst, gw, onlink } of end.routes)
    run('route', 'add', dst, 'via', gw, 'dev', end.ifname, 'proto', 'static', ...(onlink ? ['onlink'] : []))
  if (end !== host) return
  inside(netns, 'sysctl', '-qw', `net.ipv4.conf.${end.ifname}.rp_filter=1`, 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1')
  inside(netns, 'nft', '-f', join(fixtures, 'firewall.nft'))
}

/** What 0.1.0 printed for an ADD: the prevResult of CHECK and DEL. */
export function resultOf({ netns, mtu, host, pod }: OldRecord) {
  const own = { name: 'eth0', mtu, sandbox: netns }
  const interfaces = host === undefined ? [own] : [{ name: host.ifname, mtu }, own]
  return {
    cniVersion: '1.1.0',
    interfaces,
    ips: pod.addresses.map(({ local, peer, prefix }) => ({
      interface: interfaces.length - 1,
      address: `${local}/${prefix}`,
      gateway: peer,
    })),
    routes: pod.routes.map(({ dst, gw }) => ({ dst, gw })),
  }
}
