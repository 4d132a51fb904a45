/** The name and text of an errno, such as ["EEXIST", "file already exists"]. */
export function errnoName(errno: number): [string, string] {
  // loaded only for an error: it costs a millisecond
  const { getSystemErrorMap } = process.getBuiltinModule('node:util')
  return getSystemErrorMap().get(-errno) ?? EXTRA[errno] ?? [`errno ${errno}`, 'unknown error']
}

/**
 * <asm-generic/errno.h>: errnos that the runtime's table lacks, and that the kernel returns here.
 */
const EXTRA: Record<number, [string, string]> = {
  22: ['EINVAL', 'invalid argument'],
  77: ['EBADFD', 'file descriptor in bad state'],
  85: ['ERESTART', 'interrupted system call should be restarted'],
  95: ['EOPNOTSUPP', 'operation not supported'],
  99: ['EADDRNOTAVAIL', 'address not available'],
  101: ['ENETUNREACH', 'network is unreachable'],
  105: ['ENOBUFS', 'no buffer space available'],
}

/** A system call failed; `code` is the errno's name. */
export class SyscallError extends Error {
  override name = 'SyscallError'
  readonly syscall: string
  readonly errno: number
  readonly code: string
  constructor(syscall: string, errno: number, what = '') {
    const [code, text] = errnoName(errno)
    super(`${syscall}${what === '' ? '' : ` ${what}`}: ${code} (${text})`)
    this.syscall = syscall
    this.errno = errno
    this.code = code
  }
}
