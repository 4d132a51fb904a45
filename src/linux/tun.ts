/** TUN devices: see the kernel's Documentation/networking/tuntap.rst. */
import { closeSync, constants, openSync } from 'node:fs'
import { ifNameToIndex, ioctl, ioctlNumber } from './libc.ts'
import { u32 } from './netlink.ts'
import * as uapi from './uapi.ts'

export interface TunOptions {
  name: string
  /**
   * Numeric uid and gid, as the initial user namespace sees them; both must match where both are
   * set.
   */
  owner?: number | undefined
  group?: number | undefined
  multiQueue?: boolean
  /** Index of the device; the kernel chooses where it is absent. */
  index?: number | undefined
  /** Packets carry a virtio_net_hdr, so that GSO packets pass unsegmented. */
  vnetHdr: boolean
}

/**
 * Makes a device in the calling thread's network namespace. It is deleted with its descriptor,
 * unless setPersist() was called. Equivalent to: ip tuntap add mode tun NAME ... Returns its
 * descriptor. Throws EBUSY when a TUN has the name or any device has the index, EINVAL when another
 * kind of device has the name.
 */
export function createTun(options: TunOptions): number {
  if (options.name.includes('%')) throw new RangeError(`Cannot name an interface "${options.name}": the kernel would expand "%"`)
  if (Buffer.byteLength(options.name) >= uapi.IFNAMSIZ)
    throw new RangeError(`Cannot name an interface "${options.name}": at most ${uapi.IFNAMSIZ - 1} bytes`)
  const fd = openTun(options.name, flags(options) | uapi.IFF_TUN_EXCL, options.index)
  try {
    setOwner(fd, options.owner, options.group)
    return fd
  } catch (error) {
    closeSync(fd)
    throw error
  }
}

/**
 * Opens the device `name`, or makes it: ip tuntap add mode tun|tap NAME. `flags`: IFF_TUN or
 * IFF_TAP and more, as TUNSETIFF takes them. The kernel puts a number for "%d" in the name. Throws
 * EBUSY, EINVAL, EPERM.
 */
export function openTunDevice(name: string, flags: number): { fd: number; name: string } {
  if (Buffer.byteLength(name) >= uapi.IFNAMSIZ)
    throw new RangeError(`Cannot name an interface ${JSON.stringify(name)}: at most ${uapi.IFNAMSIZ - 1} bytes`)
  return open(name, flags)
}

/**
 * Equivalent to: ip tuntap add ... user OWNER group GROUP. Sets who may attach without
 * CAP_NET_ADMIN.
 */
export function setOwner(fd: number, owner: number | undefined, group: number | undefined): void {
  if (owner !== undefined) ioctlNumber(fd, uapi.TUNSETOWNER, owner)
  if (group !== undefined) ioctlNumber(fd, uapi.TUNSETGROUP, group)
}

/**
 * Opens the device `name`, which must exist (ENODEV). TUNSETIFF alone would make a new one, but
 * none can be made with the index of lo.
 */
export function attachTun(options: { name: string; vnetHdr: boolean; multiQueue?: boolean }): number {
  const isThere = () => ifNameToIndex(options.name) !== 0
  try {
    if (isThere()) return openTun(options.name, flags(options), LOOPBACK_IFINDEX)
  } catch (error) {
    if (isThere()) throw error
  }
  throw Object.assign(new Error(`attach to ${options.name}: ENODEV (no such device)`), { code: 'ENODEV' })
}

const LOOPBACK_IFINDEX = 1 // <net/net_namespace.h>

/**
 * Enables every offload that lets GSO packets pass unsegmented; `uso` is false where the kernel
 * (before 6.2) refuses UDP's.
 */
export function setOffloads(fd: number): { uso: boolean } {
  const tcp = uapi.TUN_F_CSUM | uapi.TUN_F_TSO4 | uapi.TUN_F_TSO6 | uapi.TUN_F_TSO_ECN
  try {
    ioctlNumber(fd, uapi.TUNSETOFFLOAD, tcp | uapi.TUN_F_USO4 | uapi.TUN_F_USO6)
    return { uso: true }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EINVAL') throw error
    ioctlNumber(fd, uapi.TUNSETOFFLOAD, tcp)
    return { uso: false }
  }
}

/** False when the descriptor's device was deleted: the kernel then returns EBADFD. */
export function hasDevice(fd: number): boolean {
  try {
    ioctl(fd, uapi.TUNGETIFF, Buffer.alloc(40)) // struct ifreq
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EBADFD') throw error
    return false
  }
}

/** Sets whether the device outlives its descriptors. */
export function setPersist(fd: number, persist: boolean): void {
  ioctlNumber(fd, uapi.TUNSETPERSIST, persist ? 1 : 0)
}

const flags = ({ vnetHdr, multiQueue }: { vnetHdr: boolean; multiQueue?: boolean }) =>
  uapi.IFF_TUN | uapi.IFF_NO_PI | (vnetHdr ? uapi.IFF_VNET_HDR : 0) | (multiQueue ? uapi.IFF_MULTI_QUEUE : 0)

function openTun(name: string, flags: number, index?: number): number {
  const { fd, name: given } = open(name, flags, index)
  if (given === name) return fd
  closeSync(fd)
  throw new RangeError(`The kernel named the interface "${given}", not "${name}"`)
}

function open(name: string, flags: number, index?: number): { fd: number; name: string } {
  const ifreq = Buffer.alloc(40) // struct ifreq: name, then a 24-byte union
  ifreq.write(name)
  ifreq.writeUInt16LE(flags, uapi.IFNAMSIZ)
  const fd = openSync('/dev/net/tun', constants.O_RDWR | constants.O_NONBLOCK | O_CLOEXEC)
  try {
    if (index !== undefined) ioctl(fd, uapi.TUNSETIFINDEX, u32(index))
    ioctl(fd, uapi.TUNSETIFF, ifreq)
    return { fd, name: ifreq.toString('utf8', 0, ifreq.indexOf(0)) }
  } catch (error) {
    closeSync(fd)
    throw error
  }
}

const O_CLOEXEC = 0o2000000
