/**
 * Settings of devices that rtnetlink cannot make, by /proc/sys/net of the calling thread's network
 * namespace. Each is read before it is written.
 */
import { inNewNetns } from '../linux/netns.ts'
import { sysctlGet, sysctlIsWritable, sysctlSet } from '../linux/sysctl.ts'

/**
 * Writes only values that differ: /proc/sys may be read-only, and writing takes time even when
 * nothing changes.
 */
export function setUnlessSet(key: string[], value: string): void {
  if (sysctlGet(key) !== value) sysctlSet(key, value)
}

export const FORWARD_IPV4 = ['net', 'ipv4', 'ip_forward']
export const FORWARD_IPV6 = ['net', 'ipv6', 'conf', 'all', 'forwarding']

const ipv6Key = (ifname: string, name: string) => ['net', 'ipv6', 'conf', ifname, name]

/**
 * Enables IPv6 where it is off by default, and keeps addresses when the device is set down. Must be
 * called before the device has addresses.
 */
export function allowIPv6(ifname: string): void {
  setUnlessSet(ipv6Key(ifname, 'disable_ipv6'), '0')
  // not required: CHECK notices lost addresses
  unlessReadOnly(() => setUnlessSet(ipv6Key(ifname, 'keep_addr_on_down'), '1'))
}

/**
 * A pod must not give the node routes by router advertisements. A device that forwards ignores
 * them, unless accept_ra is 2.
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

/** Why no device here can have an IPv6 address; undefined when one can. */
export const ipv6Refusal = (): string | undefined =>
  sysctlGet(FORWARD_IPV6) === undefined ? 'this kernel has no IPv6 (there is no sysctl net.ipv6.conf.all.forwarding)' : undefined

/**
 * Why a link of these families could not get its settings here, with the node's end in the calling
 * thread's network namespace; undefined when it could. Settings that are right already need not be
 * writable. A new device has the values of "default".
 */
export function sysctlRefusal({ ipv4, ipv6 }: { ipv4: boolean; ipv6: boolean }): string | undefined {
  const noIPv6 = ipv6 ? ipv6Refusal() : undefined
  if (noIPv6 !== undefined) return noIPv6
  if (sysctlIsWritable(FORWARD_IPV4)) return undefined
  const ofDefault = (name: string) => ipv6Key('default', name)
  const accept = sysctlGet(ofDefault('accept_ra'))
  const takesNone = accept === undefined || accept === '0' || (accept === '1' && sysctlGet(ofDefault('forwarding')) === '1')
  const hasIPv6Off = () => sysctlGet(ofDefault('disable_ipv6')) === '1'
  const wrong = [
    ...(ipv4 && sysctlGet(FORWARD_IPV4) !== '1' ? [`${FORWARD_IPV4.join('.')} is not 1`] : []),
    ...(ipv6 && sysctlGet(FORWARD_IPV6) !== '1' ? [`${FORWARD_IPV6.join('.')} is not 1`] : []),
    ...(ipv6 && (hasIPv6Off() || inNewNetns(hasIPv6Off)) ? [`${ofDefault('disable_ipv6').join('.')} is 1`] : []),
    ...(takesNone ? [] : [`${ofDefault('accept_ra').join('.')} is ${accept}, and ${ofDefault('forwarding').join('.')} is not 1`]),
  ]
  return wrong.length === 0 ? undefined : `sysctl ${wrong.join('; ')}; and /proc/sys cannot be written`
}
