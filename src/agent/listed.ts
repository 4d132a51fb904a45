import { recordList } from '../link/record.ts'
import { linkList } from '../linux/link.ts'
import { NetlinkSocket } from '../linux/netlink.ts'
import type { Wire } from '../wire/wire.ts'
import type { ListedLink } from './protocol.ts'

/**
 * Every link on record whose far end is the node, with the counters of the node's end: what that
 * end received, the pod has sent. `isOpen`: see ListedLink.
 */
export function listLinks(dataDir: string, isOpen: (link: string, wire: Wire) => boolean): ListedLink[] {
  using node = new NetlinkSocket()
  const devices = new Map(linkList(node).map(device => [device.name, device.stats]))
  return recordList(dataDir).plans.flatMap(({ host, network, containerID, ifname, netns, wire = 'thread' }) => {
    if (host === undefined) return []
    const link: ListedLink = { link: host.ifname, network, containerID, ifname, netns, wire, isOpen: isOpen(host.ifname, wire) }
    const stats = devices.get(host.ifname)
    if (stats === undefined) return [link]
    const podToHost = { packets: stats.rxPackets, bytes: stats.rxBytes, drops: stats.rxDropped }
    return [{ ...link, podToHost, hostToPod: { packets: stats.txPackets, bytes: stats.txBytes, drops: stats.txDropped } }]
  })
}
