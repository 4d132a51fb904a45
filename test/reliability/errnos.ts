/** Which errors are injected into which system call of ours, and which calls are the runtime's. */
import { constants } from 'node:os'

const SHORTAGE = ['ENOMEM', 'ENOBUFS', 'EINTR', 'EAGAIN']
const FILE = ['ENOSPC', 'EIO', 'ENOMEM', 'EINTR']
const OPEN = ['EMFILE', 'ENOMEM']

/**
 * By the manual page of each, or by what the kernel's code can return. Not clone3: its threads are
 * the runtime's, which aborts without them, and that is a crash like another.
 */
const ERRNOS: Record<string, string[]> = {
  openat: [...OPEN, 'ENOSPC', 'EIO', 'EINTR'],
  read: ['EIO', 'ENOMEM', 'EINTR', 'EAGAIN'],
  write: [...FILE, 'EAGAIN'],
  fsync: ['EIO', 'ENOSPC', 'EINTR'],
  ftruncate: FILE,
  statx: ['ENOMEM', 'EIO'],
  getdents64: ['ENOMEM', 'EIO'],
  mkdir: FILE,
  link: FILE,
  rename: [...FILE, 'EBUSY'],
  unlink: ['EIO', 'EBUSY', 'ENOMEM'],
  rmdir: ['EIO', 'EBUSY', 'ENOMEM'],
  socket: [...OPEN, 'ENOBUFS'],
  setsockopt: ['ENOMEM', 'ENOBUFS'],
  connect: [...SHORTAGE],
  bind: ['ENOMEM', 'ENOBUFS', 'EIO'],
  listen: ['ENOMEM', 'ENOBUFS'],
  accept4: [...OPEN, 'ENOBUFS', 'EINTR', 'EAGAIN'],
  sendto: [...SHORTAGE, 'EBUSY'],
  recvfrom: SHORTAGE,
  sendmsg: [...SHORTAGE, 'EBUSY'],
  recvmsg: SHORTAGE,
  ioctl: ['ENOMEM', 'EBUSY', 'EINTR', 'EAGAIN'],
  bpf: ['ENOMEM', 'EAGAIN', 'EBUSY', 'ENOSPC', 'EMFILE', 'EINTR'],
  setns: ['ENOMEM', 'ENOSPC', 'EINTR'],
  unshare: ['ENOMEM', 'ENOSPC'],
  flock: ['EINTR', 'ENOMEM'],
  fcntl: ['EMFILE'],
  memfd_create: OPEN,
  eventfd2: OPEN,
  epoll_create1: OPEN,
  epoll_ctl: ['ENOMEM', 'ENOSPC'],
  io_uring_setup: OPEN,
  io_uring_register: ['ENOMEM', 'EBUSY'],
  io_uring_enter: ['EAGAIN', 'EBUSY', 'EINTR', 'ENOMEM'],
  vfork: ['EAGAIN', 'ENOMEM'],
}

/** Whoever gets one of these makes the call again: it does not last. */
const PASSING = ['EINTR', 'EAGAIN']
/** A lack of processes, memory or file descriptors: EAGAIN of these lasts. */
const LACKING = ['vfork', 'bpf', 'io_uring_enter']

/**
 * What the runtime looks at for itself: how much memory there is, libraries, how to wake a thread.
 */
const RUNTIME =
  /^(\/proc\/(self|\d+)\/(statm|maps|cgroup|stat|status|fd)$|\/proc\/meminfo|\/sys\/|\/dev\/(shm|urandom)|\/etc\/ld|\/(usr\/)?lib|anon_inode:\[event|pipe:)/

/** True for a call that is made for what tunlink does. */
export const isOurs = (name: string, what: string): boolean => name in ERRNOS && !RUNTIME.test(what)

/** Errors to be injected into a call; with `isLasting` those that may well last. */
export const errnosOf = (name: string, isLasting: boolean): string[] =>
  ERRNOS[name]!.filter(errno => !isLasting || !PASSING.includes(errno) || (errno === 'EAGAIN' && LACKING.includes(name)))

export const numberOf = (errno: string): number => constants.errno[errno as keyof typeof constants.errno]
