/** TUN and TAP devices for programs: what `import { TunDevice } from 'tunlink'` gives. */
import { closeSync, readSync, writeSync } from 'node:fs'
import { familyOf, hostCidr, parseCidr } from '../address.ts'
import { type Address, addressAddition, addressDeletion, addressList } from '../linux/address-messages.ts'
import { ifNameToIndex } from '../linux/libc.ts'
import { type Link, type LinkStats, linkChange, linkGet } from '../linux/link.ts'
import { NetlinkSocket } from '../linux/netlink.ts'
import { inNetns } from '../linux/netns.ts'
import { openTunDevice, setOffloads, setOwner, setPersist } from '../linux/tun.ts'
import { IFF_MULTI_QUEUE, IFF_NO_PI, IFF_TUN, IFF_UP, IFF_VNET_HDR } from '../linux/uapi.ts'
import { ipv4, netmaskOf, prefixOf } from './ipv4.ts'
import { announcePackets, packetMayHaveCome } from './wake.ts'

export interface TunDeviceOptions {
  /** At most 15 bytes; the kernel puts a number for "%d". Default: "tun%d". */
  name?: string
  /**
   * IFF_TUN or IFF_TAP, and IFF_NO_PI, IFF_MULTI_QUEUE, IFF_VNET_HDR. Default: IFF_TUN | IFF_NO_PI.
   */
  flags?: number
  /** Path of a network namespace, such as /run/netns/blue, in which the device is. */
  netns?: string
  /** Numeric uid and gid that may attach without CAP_NET_ADMIN. */
  owner?: number
  group?: number
}

/** The largest packet, and the header that IFF_VNET_HDR puts in front. */
const MOST_BYTES = 65536 + 256

/** After so many packets timers, signals and other input have their turn, even under a flood. */
const AT_ONCE = 64

/**
 * A TUN device (packets) or TAP device (frames), made or attached to. Everything but read() is done
 * when the call returns. Errors have a `code` such as EPERM, EBUSY, ENODEV. Needs CAP_NET_ADMIN,
 * or a device that was made persistent for this user.
 */
export class TunDevice implements Disposable {
  readonly name: string
  readonly #options: TunDeviceOptions
  readonly #flags: number
  readonly #descriptor: number
  readonly #socket: NetlinkSocket
  readonly #index: number
  readonly #closing = new AbortController()
  #packets = 0

  constructor(options: TunDeviceOptions = {}) {
    const { name = 'tun%d', flags = IFF_TUN | IFF_NO_PI, netns, owner, group } = options
    const made = netns === undefined ? open(name, flags) : inNetns(netns, () => open(name, flags))
    this.name = made.name
    this.#options = options
    this.#flags = flags
    this.#descriptor = made.fd
    this.#socket = made.netlink
    this.#index = made.index
    try {
      setOwner(this.#fd, owner, group)
      if ((flags & IFF_VNET_HDR) !== 0) setOffloads(this.#fd)
      announcePackets(this.#fd)
    } catch (error) {
      this.close()
      throw error
    }
  }

  /** The descriptor, for other programs and libraries. It is closed by close(). */
  fileno(): number {
    return this.#fd
  }

  /** Equivalent to: ip link set NAME up */
  up(): void {
    this.#netlink.requestBatch([linkChange(this.#index, { up: true })])
  }

  /** Equivalent to: ip link set NAME down */
  down(): void {
    this.#netlink.requestBatch([linkChange(this.#index, { up: false })])
  }

  get isUp(): boolean {
    return (this.#link.flags & IFF_UP) !== 0
  }

  /** Whether the device stays when it is closed. */
  persist(isPersistent = true): void {
    setPersist(this.#fd, isPersistent)
  }

  /** Bytes. */
  get mtu(): number {
    return this.#link.mtu
  }
  set mtu(bytes: number) {
    this.#netlink.requestBatch([linkChange(this.#index, { mtu: bytes })])
  }

  /** The MAC address of a TAP, such as `02:00:00:00:00:01`; undefined for a TUN, which has none. */
  get hwaddr(): string | undefined {
    return this.#link.mac
  }
  set hwaddr(mac: string) {
    if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(mac))
      throw new RangeError(`"hwaddr" must be six hexadecimal bytes with colons, not ${JSON.stringify(mac)}`)
    this.#netlink.requestBatch([linkChange(this.#index, { mac: Buffer.from(mac.replaceAll(':', ''), 'hex') })])
  }

  /** The first IPv4 address. Setting it keeps the other end's address. */
  get addr(): string | undefined {
    return this.#ipv4?.local
  }
  set addr(address: string) {
    this.#replace({ prefix: 32, ...this.#ipv4, local: ipv4('addr', address) })
  }

  /** The other end's IPv4 address: `ip address add ADDR peer DSTADDR`. Set `addr` before. */
  get dstaddr(): string | undefined {
    return this.#ipv4?.peer
  }
  set dstaddr(address: string) {
    this.#replace({ ...this.#present('dstaddr'), peer: ipv4('dstaddr', address) })
  }

  /**
   * The netmask of `dstaddr` where there is one, else of `addr`: the addresses reached by this
   * device. Set `addr` before.
   */
  get netmask(): string | undefined {
    return this.#ipv4 && netmaskOf(this.#ipv4.prefix)
  }
  set netmask(mask: string) {
    this.#replace({ ...this.#present('netmask'), prefix: prefixOf(mask) })
  }

  /** All addresses except those that the kernel made itself, as `{ local, prefix, peer }`. */
  get addresses(): Address[] {
    return addressList(this.#netlink, this.#index)
  }

  /** `add('fd66::1/64')`, `add('10.66.0.1', 'fd66::2/128')`: ip address add ADDRESS [peer PEER]. */
  add(address: string, peer?: string): void {
    this.#netlink.requestBatch([addressAddition(this.#index, parse(address, peer))])
  }

  /** Equivalent to: ip address delete. Takes an address as add() does. */
  delete(address: string, peer?: string): void {
    this.#netlink.requestBatch([addressDeletion(this.#index, parse(address, peer))])
  }

  /**
   * Counters since the device was made; `rx` counts packets that programs wrote into the device.
   */
  get stats(): LinkStats {
    return this.#link.stats
  }

  /**
   * The next packet; waits for one. Reads nothing ahead: packets that nobody reads wait in the
   * device's queue, and are dropped when that is full. Rejects with code EBADF when the device is
   * closed meanwhile.
   */
  async read(): Promise<Buffer> {
    for (;;) {
      const packet = this.readNow()
      if (packet !== undefined) {
        if (++this.#packets % AT_ONCE === 0) await new Promise(resolve => setImmediate(resolve))
        return packet
      }
      await packetMayHaveCome(this.#closing.signal)
    }
  }

  /** The next packet; undefined when no packet waits. */
  readNow(): Buffer | undefined {
    const buffer = Buffer.allocUnsafe(MOST_BYTES)
    try {
      return Buffer.from(buffer.subarray(0, readSync(this.#fd, buffer)))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return undefined
      throw error
    }
  }

  /**
   * Hands a packet to the kernel, as if this device had received it. Returns the number of bytes.
   */
  write(packet: Uint8Array): number {
    return writeSync(this.#fd, packet)
  }

  /** `for await (const packet of tun)`: ends when the device is closed. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer, void> {
    while (!this.#closing.signal.aborted) {
      try {
        yield await this.read()
      } catch (error) {
        if (this.#closing.signal.aborted) return
        throw error
      }
    }
  }

  /** Opens another queue of the same device, which must have been made with IFF_MULTI_QUEUE. */
  queue(): TunDevice {
    this.#refuseClosed()
    if ((this.#flags & IFF_MULTI_QUEUE) === 0) throw new RangeError(`${this.name} has one queue: make it with IFF_MULTI_QUEUE`)
    return new TunDevice({ ...this.#options, name: this.name })
  }

  /** The device is deleted with its last descriptor, unless it is persistent. */
  close(): void {
    if (this.#closing.signal.aborted) return
    this.#closing.abort()
    closeSync(this.#descriptor)
    this.#socket[Symbol.dispose]()
  }

  [Symbol.dispose](): void {
    this.close()
  }

  get #fd(): number {
    this.#refuseClosed()
    return this.#descriptor
  }

  get #netlink(): NetlinkSocket {
    this.#refuseClosed()
    return this.#socket
  }

  /** The numbers of closed descriptors are given to whatever the program opens next. */
  #refuseClosed(): void {
    if (this.#closing.signal.aborted) throw Object.assign(new Error(`${this.name} is closed`), { code: 'EBADF' })
  }

  get #link(): Link {
    return linkGet(this.#netlink, this.name)
  }

  get #ipv4(): Address | undefined {
    return this.addresses.find(({ local }) => familyOf(local) === 4)
  }

  #present(key: string): Address {
    if (this.#ipv4 === undefined) throw new RangeError(`"${key}" goes with "addr": set that first`)
    return this.#ipv4
  }

  #replace(address: Address): void {
    const before = this.#ipv4
    const requests = [addressAddition(this.#index, address)]
    this.#netlink.requestBatch(before === undefined ? requests : [addressDeletion(this.#index, before), ...requests])
  }
}

function open(name: string, flags: number): { fd: number; name: string; netlink: NetlinkSocket; index: number } {
  const device = openTunDevice(name, flags)
  try {
    return { ...device, netlink: new NetlinkSocket(), index: ifNameToIndex(device.name) }
  } catch (error) {
    closeSync(device.fd)
    throw error
  }
}

/** With a peer, the prefix is the peer's. Without a prefix, the address stands alone. */
function parse(address: string, peer?: string): Address {
  const [near, far] = [cidr(address), peer === undefined ? undefined : cidr(peer)]
  return far === undefined ? { local: near.address, prefix: near.prefix } : { local: near.address, peer: far.address, prefix: far.prefix }
}

function cidr(text: string): { address: string; prefix: number } {
  const parsed = parseCidr(text) ?? parseCidr(hostCidr(text))
  if (parsed === undefined) throw new RangeError(`Cannot parse ${JSON.stringify(text)} as an address, with or without prefix`)
  return parsed
}
