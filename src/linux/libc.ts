/**
 * The only user of the foreign function interface. System calls throw a SyscallError instead of
 * returning -1.
 */
import { closeSync } from 'node:fs'
import koffi from 'koffi'
import { SyscallError } from './errno.ts'

const libc = koffi.load('libc.so.6')

/** A libc function as koffi calls it, for the packet path: returns -1 on failure, see errno(). */
export const func = (name: string, result: string, args: string[]) => libc.func(name, result, args)

/** errno of the calling thread's last failed call. */
export const errno = (): number => koffi.errno()

/** `length` bytes of memory at `address` (from mmap), shared, not copied. */
export const view = (address: number | bigint, length: number): ArrayBuffer => koffi.view(BigInt(address), length)

/** A libc function that throws SyscallError instead of returning -1. */
export function checked(name: string, args: string[]) {
  const call = func(name, 'int', args)
  return (...values: unknown[]): number => {
    const result = call(...values) as number
    if (result < 0) throw new SyscallError(name, errno())
    return result
  }
}

/** setns(2) of the calling thread. */
export const setns: (fd: number, nstype: number) => number = checked('setns', ['int', 'int'])
/** flock(2): EAGAIN when LOCK_NB is given and another process holds the lock. */
export const flock: (fd: number, operation: number) => number = checked('flock', ['int', 'int'])
/** socket(2). */
export const socket: (domain: number, type: number, protocol: number) => number = checked('socket', ['int', 'int', 'int'])
/** setsockopt(2) of an int option. */
export const setsockopt: (fd: number, level: number, name: number, value: Buffer, length: number) => number = checked('setsockopt', [
  'int',
  'int',
  'int',
  'void *',
  'uint32_t',
])
/** send(2). */
export const send: (fd: number, bytes: Buffer, length: number, flags: number) => number = checked('send', [
  'int',
  'void *',
  'size_t',
  'int',
])
/** recv(2) into `bytes`. */
export const recv: (fd: number, bytes: Buffer, length: number, flags: number) => number = checked('recv', [
  'int',
  'void *',
  'size_t',
  'int',
])
/** ioctl(2) with a pointer to `argument`. */
export const ioctl: (fd: number, request: number, argument: Buffer) => number = checked('ioctl', ['int', 'uint64_t', 'void *'])
/** ioctl(2) with a number. */
export const ioctlNumber: (fd: number, request: number, argument: number) => number = checked('ioctl', ['int', 'uint64_t', 'uint64_t'])

/** eventfd(2), close-on-exec. */
export const eventfd: (initial: number, flags: number) => number = checked('eventfd', ['uint32_t', 'int'])
/** epoll_create1(2). */
export const epollCreate: (flags: number) => number = checked('epoll_create1', ['int'])
/** epoll_ctl(2); `event` is a struct epoll_event. */
export const epollCtl: (epoll: number, operation: number, fd: number, event: Buffer) => number = checked('epoll_ctl', [
  'int',
  'int',
  'int',
  'void *',
])

/**
 * The address of `bytes`, as a plain number: passing it costs less than passing the buffer. The
 * engine may free `bytes` when nothing later in the program refers to them: see keepAlive().
 */
export const addressOf = (bytes: Uint8Array): number => Number(koffi.address(bytes))

const kept: { buffers?: Uint8Array[] } = {}

/**
 * Must be called after the kernel has used the addresses of `buffers`: keeps them alive until then.
 */
export function keepAlive(...buffers: Uint8Array[]): void {
  kept.buffers = buffers
}

const rawMmap = func('mmap', 'int64_t', ['uint64_t', 'uint64_t', 'int', 'int', 'int', 'int64_t']) as (...values: number[]) => number

/** mmap(2): the address, as a plain number. */
export function mmap(address: number, length: number, protection: number, flags: number, fd: number, offset: number): number {
  const mapped = Number(rawMmap(address, length, protection, flags, fd, offset))
  if (mapped === -1) throw new SyscallError('mmap', errno())
  return mapped
}

/** munmap(2). */
export const munmap: (address: number, length: number) => number = checked('munmap', ['uint64_t', 'size_t'])

/** madvise(2). */
export const madvise: (address: number, length: number, advice: number) => number = checked('madvise', ['uint64_t', 'uint64_t', 'int'])

// <linux/sockios.h>, <linux/if.h>
const SIOCGIFNAME = 0x8910
const SIOCGIFINDEX = 0x8933
const IFNAMSIZ = 16
const IFREQ_BYTES = 40
// <linux/socket.h>
const [AF_UNIX, SOCK_DGRAM_CLOEXEC] = [1, 0o2000002]

/**
 * if_nametoindex(3) in the calling thread's network namespace; 0 when the device does not exist.
 * Cheaper than a netlink query. Throws SyscallError for other errors, which libc's own function
 * would report as ENOENT, or not at all.
 */
export function ifNameToIndex(name: string): number {
  if (Buffer.byteLength(name) >= IFNAMSIZ) return 0
  const ifreq = Buffer.alloc(IFREQ_BYTES)
  ifreq.write(name)
  return askDevice(SIOCGIFINDEX, ifreq) ? ifreq.readInt32LE(IFNAMSIZ) : 0
}

/**
 * if_indextoname(3) in the calling thread's network namespace; undefined when no device has this
 * index. Throws SyscallError for other errors.
 */
export function ifIndexToName(index: number): string | undefined {
  const ifreq = Buffer.alloc(IFREQ_BYTES)
  ifreq.writeInt32LE(index, IFNAMSIZ)
  return askDevice(SIOCGIFNAME, ifreq) ? ifreq.toString('utf8', 0, ifreq.indexOf(0)) : undefined
}

/** False when the device does not exist. */
function askDevice(request: number, ifreq: Buffer): boolean {
  const fd = socket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0)
  try {
    ioctl(fd, request, ifreq)
    return true
  } catch (error) {
    if ((error as SyscallError).code === 'ENODEV') return false
    throw error
  } finally {
    closeSync(fd)
  }
}
