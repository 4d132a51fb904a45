/**
 * Reads a small file at a path where anything may lie: nothing there makes the reader wait or grow.
 */
import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs'

const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants

/** Bytes: a record with a hundred routes has some 10 KiB, a resolv.conf less than one. */
const MOST = 1 << 20

/**
 * The text of a regular file of at most 1 MiB. Throws SyntaxError for a FIFO (reading it would
 * block), a device (it may never end) and a larger file. Throws the error of open(2): ELOOP for a
 * symbolic link, unless links are followed.
 */
export function readSmallFile(path: string, links: 'follow' | 'refuse' = 'refuse'): string {
  const fd = openSync(path, O_RDONLY | O_NONBLOCK | (links === 'refuse' ? O_NOFOLLOW : 0))
  try {
    const stat = fstatSync(fd)
    if (!stat.isFile()) throw new SyntaxError('it is no regular file')
    refuseLarge(stat.size)
    return readFileSync(fd, 'utf8')
  } finally {
    closeSync(fd)
  }
}

/** Throws SyntaxError for more bytes than readSmallFile() reads. */
export function refuseLarge(bytes: number): void {
  if (bytes > MOST) throw new SyntaxError(`it has ${bytes} bytes, more than ${MOST}`)
}
