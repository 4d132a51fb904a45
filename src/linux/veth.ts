/** Pairs of virtual Ethernet devices: see veth(4) and ip-link(8), "type veth". */
import { attribute, nested, type Request, text, u32 } from './netlink.ts'
import * as uapi from './uapi.ts'

export interface VethEnd {
  name: string
  /**
   * Six bytes. A MAC given at creation is final: udev changes only those that the kernel has drawn.
   */
  mac: Buffer
  /**
   * Index; absent when the kernel is to choose. For the peer, too: only some versions of
   * veth_newlink() heed it there.
   */
  index?: number | undefined
}

/**
 * The request that makes a pair, both ends without ARP and down, `peer` in the network namespace of
 * the descriptor `netns`, the other end in that of the socket. Equivalent to: ip link add NAME
 * address MAC mtu MTU arp off type veth peer name PEER address MAC mtu MTU arp off netns NETNS
 */
export function vethAddition(end: VethEnd, peer: VethEnd, netns: number, mtu: number): Request {
  const data = nested(uapi.IFLA_INFO_DATA, nested(uapi.VETH_INFO_PEER, ...endBody(peer, mtu), attribute(uapi.IFLA_NET_NS_FD, u32(netns))))
  const info = nested(uapi.IFLA_LINKINFO, attribute(uapi.IFLA_INFO_KIND, Buffer.from('veth')), data)
  return {
    type: uapi.RTM_NEWLINK,
    flags: uapi.NLM_F_CREATE | uapi.NLM_F_EXCL,
    body: [...endBody(end, mtu), info],
    doing: `add veth pair ${end.name}`,
  }
}

const endBody = ({ name, mac, index = 0 }: VethEnd, mtu: number): Buffer[] => [
  uapi.ifinfomsg.encode({ index, flags: uapi.IFF_NOARP, change: uapi.IFF_NOARP }),
  attribute(uapi.IFLA_IFNAME, text(name)),
  attribute(uapi.IFLA_ADDRESS, mac),
  attribute(uapi.IFLA_MTU, u32(mtu)),
]
