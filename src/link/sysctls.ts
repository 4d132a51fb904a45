/** Settings of devices that rtnetlink cannot make, by /proc/sys/net of the calling thread's network namespace. Each is read before it is written. */
import { sysctlGet, sysctlSet } from '../linux/sysctl.ts'

/** Writes only what differs: /proc/sys may be read-only where all is well, and writing costs even when nothing changes. */
export function setUnlessSet(key: string[], value: string): void {
  if (sysctlGet(key) !== value) sysctlSet(key, value)
}

const ipv6Key = (ifname: string, name: string) => ['net', 'ipv6', 'conf', ifname, name]

/** Addresses that outlive a device set down, even where IPv6 is off by default. To be called before there are any. */
export function allowIPv6(ifname: string): void {
  setUnlessSet(ipv6Key(ifname, 'disable_ipv6'), '0')
  setUnlessSet(ipv6Key(ifname, 'keep_addr_on_down'), '1')
}

/** A pod must not be able to give the node routes by router advertisements. */
export function ignoreRouterAdvertisements(ifname: string): void {
  if (sysctlGet(ipv6Key(ifname, 'accept_ra')) !== undefined) setUnlessSet(ipv6Key(ifname, 'accept_ra'), '0')
}
