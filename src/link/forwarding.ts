/**
 * Prevents that turning IPv6 forwarding on breaks the node: see "accept_ra" in the kernel's
 * Documentation/networking/ip-sysctl.rst.
 */
import { linkList } from '../linux/link.ts'
import type { NetlinkSocket } from '../linux/netlink.ts'
import { defaultRoutesByAdvertisement } from '../linux/route.ts'
import { sysctlGet, sysctlSet } from '../linux/sysctl.ts'

/**
 * sysctl net.ipv6.conf.DEVICE.accept_ra=2 where it is 1 and the node's IPv6 default route came by a
 * router advertisement on DEVICE. With 1, a node that forwards takes none any more, and the kernel
 * deletes that route at the moment forwarding is turned on. So this is to be called before, where
 * net.ipv6.conf.all.forwarding is not 1 yet; `node` is a socket of the node's namespace, which the
 * calling thread is in. A device with 0 has a daemon that reads advertisements by itself
 * (systemd-networkd, NetworkManager), and is left alone. Throws when the setting cannot be written.
 */
export function keepRouterAdvertisements(node: NetlinkSocket): void {
  const indexes = new Set(defaultRoutesByAdvertisement(node))
  if (indexes.size === 0) return
  for (const { index, name } of linkList(node)) {
    const key = ['net', 'ipv6', 'conf', name, 'accept_ra']
    if (indexes.has(index) && sysctlGet(key) === '1') sysctlSet(key, '2')
  }
}
