/**
 * A listening socket as a plain descriptor, which the runtime's server does not close: see unix(7).
 */
import { closeSync } from 'node:fs'
import { checked, socket } from './libc.ts'
import { AF_UNIX, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM } from './uapi.ts'

const bind = checked('bind', ['int', 'void *', 'uint32_t'])
const listen = checked('listen', ['int', 'int'])

const SUN_PATH = 108 // sizeof sockaddr_un.sun_path, with the zero at its end

/**
 * Binds `path`, which only root can connect to, and listens. At most `backlog` connections wait to
 * be accepted. Throws EADDRINUSE when the path exists, RangeError when it is too long.
 */
export function listenUnix(path: string, backlog: number): number {
  const length = Buffer.byteLength(path)
  if (length >= SUN_PATH) throw new RangeError(`Cannot use ${JSON.stringify(path)} as a socket: longer than ${SUN_PATH - 1} bytes`)
  const address = Buffer.alloc(2 + SUN_PATH) // struct sockaddr_un
  address.writeUInt16LE(AF_UNIX, 0)
  address.write(path, 2)
  const fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
  const umask = process.umask(0o177)
  try {
    bind(fd, address, 2 + length + 1)
    listen(fd, backlog)
    return fd
  } catch (error) {
    closeSync(fd)
    throw error
  } finally {
    process.umask(umask)
  }
}
