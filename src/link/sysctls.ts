/**
 * Settings of devices that rtnetlink cannot make, by /proc/sys/net of the calling thread's network
 * namespace. Each is read before it is written.
 */
import { sysctlGet, sysctlSet } from '../linux/sysctl.ts'

/**
 * Writes only what differs: /proc/sys may be read-only where all is well, and writing costs even
 * when nothing changes.
 */
export function setUnlessSet(key: string[], value: string): void {
  if (sysctlGet(key) !== value) sysctlSet(key, value)
}

const ipv6Key = (ifname: string, name: string) => ['net', 'ipv6', 'conf', ifname, name]

/**
 * IPv6 even where it is off by default, and addresses that outlive a device set down. To be called
 * before there are any.
 */
export function allowIPv6(ifname: string): void {
  setUnlessSet(ipv6Key(ifname, 'disable_ipv6'), '0')
  // a convenience: CHECK sees lost addresses
  unlessReadOnly(() => setUnlessSet(ipv6Key(ifname, 'keep_addr_on_down'), '1'))
}

/**
 * A pod must not be able to give the node routes by router advertisements. A device that forwards
 * takes none, unless accept_ra is 2.
 */
export function ignoreRouterAdvertisements(ifname: string): void {
  const accept = sysctlGet(ipv6Key(ifname, 'accept_ra'))
  if (accept === undefined || accept === '0') return
  const write = () => sysctlSet(ipv6Key(ifname, 'accept_ra'), '0')
  if (accept === '1' && sysctlGet(ipv6Key(ifname, 'forwarding')) === '1') unlessReadOnly(write)
  else write()
}

function unlessReadOnly(body: () => void): void {
  try {
    body()
  } catch (error) {
    if (!['EROFS', 'EACCES'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error
  }
}
