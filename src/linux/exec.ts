/** execve(2): another program in the same process, which keeps chosen descriptors. */
import { readdirSync, writeSync } from 'node:fs'
import { checked } from './libc.ts'
import { F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, FD_CLOEXEC, MFD_CLOEXEC } from './uapi.ts'

const execve = checked('execve', ['const char *', 'const char **', 'const char **'])
const fcntl = checked('fcntl', ['int', 'int', 'int'])
const memfd = checked('memfd_create', ['const char *', 'uint32_t'])

const STDIO = [0, 1, 2]

/**
 * Replaces the running program by the one at `path`: the process ID stays, all threads but the
 * caller's end. The new program has the descriptors 0 to 2 and `keep`, and no others. `argv` begins
 * with the program's name. Returns only by throwing SyscallError; then nothing has changed.
 */
export function execute(path: string, argv: string[], env: NodeJS.ProcessEnv, keep: number[]): never {
  closeOnExec()
  const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`)
  try {
    // Node marks its standard descriptors close-on-exec, too
    for (const fd of [...STDIO, ...keep]) fcntl(fd, F_SETFD, 0)
    execve(path, [...argv, null], [...variables, null])
  } catch (error) {
    for (const fd of keep) fcntl(fd, F_SETFD, FD_CLOEXEC)
    throw error
  }
  throw new Error(`execve of ${path} returned`)
}

/**
 * Marks every descriptor but 0 to 2 close-on-exec: a started program inherits none that this
 * process was given by accident.
 */
export function closeOnExec(): void {
  for (const name of readdirSync('/proc/self/fd')) {
    const fd = Number(name)
    if (!STDIO.includes(fd)) markCloseOnExec(fd)
  }
}

/** Marks one descriptor close-on-exec; a closed one is ignored. */
export function markCloseOnExec(fd: number): void {
  try {
    if ((fcntl(fd, F_GETFD, 0) & FD_CLOEXEC) === 0) fcntl(fd, F_SETFD, FD_CLOEXEC)
  } catch (error) {
    // such as the descriptor that listed the directory
    if ((error as NodeJS.ErrnoException).code !== 'EBADF') throw error
  }
}

/** Duplicates a descriptor. */
export const duplicate = (fd: number): number => fcntl(fd, F_DUPFD_CLOEXEC, 3)

/**
 * A file in memory that holds `text`, named `name` in /proc: for data that is too long for an
 * environment variable (128 KiB).
 */
export function memoryFile(name: string, text: string): number {
  const fd = memfd(name, MFD_CLOEXEC)
  const bytes = Buffer.from(text)
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at, bytes.length - at, at)
  return fd
}
