/** Numbers of system calls on x86-64: <asm/unistd_64.h>. */

/** What the sweeps name. Another call is named by its number. */
const NUMBERS: Record<string, number> = {
  read: 0,
  write: 1,
  open: 2,
  close: 3,
  stat: 4,
  fstat: 5,
  lstat: 6,
  lseek: 8,
  ioctl: 16,
  pread64: 17,
  pwrite64: 18,
  readv: 19,
  writev: 20,
  access: 21,
  pipe: 22,
  dup: 32,
  dup2: 33,
  socket: 41,
  connect: 42,
  accept: 43,
  sendto: 44,
  recvfrom: 45,
  sendmsg: 46,
  recvmsg: 47,
  shutdown: 48,
  bind: 49,
  listen: 50,
  getsockname: 51,
  getpeername: 52,
  socketpair: 53,
  setsockopt: 54,
  getsockopt: 55,
  clone: 56,
  fork: 57,
  vfork: 58,
  execve: 59,
  kill: 62,
  fcntl: 72,
  flock: 73,
  fsync: 74,
  fdatasync: 75,
  truncate: 76,
  ftruncate: 77,
  getdents: 78,
  getcwd: 79,
  chdir: 80,
  rename: 82,
  mkdir: 83,
  rmdir: 84,
  link: 86,
  unlink: 87,
  readlink: 89,
  chmod: 90,
  fchmod: 91,
  umask: 95,
  setsid: 112,
  statfs: 137,
  getdents64: 217,
  epoll_create: 213,
  epoll_ctl: 233,
  inotify_add_watch: 254,
  inotify_rm_watch: 255,
  openat: 257,
  mkdirat: 258,
  newfstatat: 262,
  unlinkat: 263,
  renameat: 264,
  linkat: 265,
  readlinkat: 267,
  faccessat: 269,
  unshare: 272,
  signalfd4: 289,
  eventfd2: 290,
  epoll_create1: 291,
  dup3: 292,
  pipe2: 293,
  accept4: 288,
  inotify_init1: 294,
  preadv: 295,
  pwritev: 296,
  setns: 308,
  renameat2: 316,
  memfd_create: 319,
  bpf: 321,
  statx: 332,
  pidfd_open: 434,
  clone3: 435,
  close_range: 436,
  faccessat2: 439,
  io_uring_setup: 425,
  io_uring_enter: 426,
  io_uring_register: 427,
}

const NAMES = new Map(Object.entries(NUMBERS).map(([name, number]) => [number, name]))

export const nameOf = (number: number): string => NAMES.get(number) ?? `number ${number}`

/**
 * Calls that change nothing outside of the process: memory, time, scheduling, signals, waiting. To
 * end a process at one of them is to end it at its next call of another kind. Engines make
 * thousands of them, in another order each time.
 */
export const INSIDE: number[] = [
  7, // poll
  9, // mmap
  10, // mprotect
  11, // munmap
  12, // brk
  13, // rt_sigaction
  14, // rt_sigprocmask
  15, // rt_sigreturn
  23, // select
  24, // sched_yield
  25, // mremap
  28, // madvise
  34, // pause
  35, // nanosleep
  38, // setitimer
  39, // getpid
  60, // exit
  61, // wait4
  63, // uname
  96, // gettimeofday
  97, // getrlimit
  98, // getrusage
  99, // sysinfo
  102, // getuid
  104, // getgid
  107, // geteuid
  108, // getegid
  110, // getppid
  131, // sigaltstack
  142, // sched_setparam
  144, // sched_setscheduler
  145, // sched_getscheduler
  157, // prctl
  158, // arch_prctl
  186, // gettid
  202, // futex
  203, // sched_setaffinity
  204, // sched_getaffinity
  218, // set_tid_address
  219, // restart_syscall
  228, // clock_gettime
  229, // clock_getres
  230, // clock_nanosleep
  231, // exit_group
  232, // epoll_wait
  234, // tgkill
  247, // waitid
  271, // ppoll
  273, // set_robust_list
  281, // epoll_pwait
  302, // prlimit64
  309, // getcpu
  318, // getrandom
  324, // membarrier
  334, // rseq
  441, // epoll_pwait2
]
