/**
 * seccomp's user notification: every system call of a process and of its children waits for a
 * supervisor, which lets it pass, refuses it, or ends the process. Needs no tracer, so it costs
 * some 20 us a call. See seccomp(2), seccomp_unotify(2).
 */
import { closeSync, readdirSync, readlinkSync } from 'node:fs'
import { addressOf, checked, func, ioctl, keepAlive } from '../../src/linux/libc.ts'

// <asm/unistd_64.h>
const SYS_SECCOMP = 317
const SYS_PIDFD_OPEN = 434
const SYS_PIDFD_GETFD = 438
// <linux/seccomp.h>
const SECCOMP_SET_MODE_FILTER = 1
const SECCOMP_FILTER_FLAG_NEW_LISTENER = 8
const SECCOMP_RET_ALLOW = 0x7fff_0000
const SECCOMP_RET_USER_NOTIF = 0x7fc0_0000
const SECCOMP_IOCTL_NOTIF_RECV = 0xc050_2100
const SECCOMP_IOCTL_NOTIF_SEND = 0xc018_2101
const SECCOMP_USER_NOTIF_FLAG_CONTINUE = 1
// <linux/bpf_common.h>: load a word, compare with a constant, return
const [LD_W_ABS, JEQ, RET] = [0x20, 0x15, 0x06]
const POLLIN = 1

const syscall = checked('syscall', ['long', 'uint64_t', 'uint64_t', 'uint64_t'])
const pollCall = func('poll', 'int', ['void *', 'uint64_t', 'int']) as (fds: Buffer, count: number, timeoutMs: number) => number

/**
 * From now on the calls of this thread, and of the processes that it starts, wait for whoever reads
 * the listener, but those in `allowed`. The listener is closed on execve(2).
 */
export function beSupervised(allowed: number[]): void {
  const program: [code: number, ifTrue: number, ifFalse: number, k: number][] = [
    [LD_W_ABS, 0, 0, 0], // the call's number is the first word of struct seccomp_data
    ...allowed.map((number, at) => [JEQ, allowed.length - at, 0, number] as [number, number, number, number]),
    [RET, 0, 0, SECCOMP_RET_USER_NOTIF],
    [RET, 0, 0, SECCOMP_RET_ALLOW],
  ]
  const filter = Buffer.alloc(program.length * 8) // struct sock_filter
  for (const [index, [code, ifTrue, ifFalse, k]] of program.entries()) {
    filter.writeUInt16LE(code, index * 8)
    filter.set([ifTrue, ifFalse], index * 8 + 2)
    filter.writeUInt32LE(k, index * 8 + 4)
  }
  const sockFprog = Buffer.alloc(16)
  sockFprog.writeUInt16LE(program.length)
  sockFprog.writeBigUInt64LE(BigInt(addressOf(filter)), 8)
  const listener = syscall(SYS_SECCOMP, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, addressOf(sockFprog))
  keepAlive(filter, sockFprog)
  closeSync(listener) // waits until the supervisor has a descriptor of its own
}

export interface Call {
  /** The notification, for the answer. */
  id: bigint
  /** Thread that makes the call. */
  tid: number
  number: number
  args: bigint[]
}

/** The supervisor's end. */
export class Listener implements Disposable {
  readonly #fd: number
  readonly #pollfd = Buffer.alloc(8)
  readonly #notification = Buffer.alloc(80) // struct seccomp_notif
  readonly #response = Buffer.alloc(24) // struct seccomp_notif_resp

  /** Of a process that is in beSupervised(), or soon will be. Undefined when it is not yet. */
  static of(pid: number): Listener | undefined {
    for (const fd of readdirSync(`/proc/${pid}/fd`)) {
      if (linkOf(pid, Number(fd)) !== 'anon_inode:seccomp notify') continue
      const pidfd = syscall(SYS_PIDFD_OPEN, pid, 0, 0)
      try {
        return new Listener(syscall(SYS_PIDFD_GETFD, pidfd, Number(fd), 0))
      } finally {
        closeSync(pidfd)
      }
    }
    return undefined
  }

  private constructor(fd: number) {
    this.#fd = fd
    this.#pollfd.writeInt32LE(fd)
    this.#pollfd.writeInt16LE(POLLIN, 4)
  }

  /** The next call that waits, within `timeoutMs`; undefined when none does. */
  next(timeoutMs: number): Call | undefined {
    if (pollCall(this.#pollfd, 1, timeoutMs) <= 0 || (this.#pollfd.readInt16LE(6) & POLLIN) === 0) return undefined
    const bytes = this.#notification.fill(0)
    try {
      ioctl(this.#fd, SECCOMP_IOCTL_NOTIF_RECV, bytes)
    } catch (error) {
      if (hasGone(error)) return undefined
      throw error
    }
    return {
      id: bytes.readBigUInt64LE(0),
      tid: bytes.readUInt32LE(8),
      number: bytes.readInt32LE(16),
      args: [32, 40, 48].map(at => bytes.readBigUInt64LE(at)),
    }
  }

  /** Lets the call pass, or refuses it with `errno`. */
  answer({ id }: Call, errno?: number): void {
    const bytes = this.#response.fill(0)
    bytes.writeBigUInt64LE(id, 0)
    if (errno === undefined) bytes.writeUInt32LE(SECCOMP_USER_NOTIF_FLAG_CONTINUE, 20)
    else bytes.writeInt32LE(-errno, 16)
    try {
      ioctl(this.#fd, SECCOMP_IOCTL_NOTIF_SEND, bytes)
    } catch (error) {
      if (!hasGone(error)) throw error
    }
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd)
  }
}

/** The thread was killed, or a signal has made it begin its call again. */
const hasGone = (error: unknown) => ['ENOENT', 'EINTR'].includes((error as NodeJS.ErrnoException).code ?? '')

/** What a descriptor of a process is, as /proc has it; empty when it is not open. */
export function linkOf(pid: number, fd: number): string {
  try {
    return readlinkSync(`/proc/${pid}/fd/${fd}`)
  } catch {
    return ''
  }
}
