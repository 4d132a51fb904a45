/**
 * The agent's log: JSON lines on stdout. Writing never throws: a full disk, or a reader that has
 * gone, must not end the agent. Where stdout is a file, its size is bounded: beyond MAX_BYTES it is
 * cut to its last quarter.
 */
import { closeSync, fstatSync, ftruncateSync, openSync, readFileSync, readSync, writeSync } from 'node:fs'

const STDOUT = 1
const O_APPEND = 0o2000
export const MAX_BYTES = 1 << 20
const KEPT_BYTES = MAX_BYTES / 4

/** Writes one line. */
export function log(message: string, fields: Record<string, unknown> = {}): void {
  try {
    cut(STDOUT)
    writeSync(STDOUT, `${JSON.stringify({ time: new Date().toISOString(), message, ...fields })}\n`)
  } catch {
    // There is no place left to report this error.
  }
}

/**
 * Keeps the last whole lines of a file that has grown too long. Done only where the file was opened
 * with O_APPEND, as the plugin does: other writers would leave a hole. Lines that another process
 * writes meanwhile are lost.
 */
function cut(fd: number): void {
  const file = fstatSync(fd)
  if (!file.isFile() || file.size <= MAX_BYTES || !isAppended(fd)) return
  const tail = Buffer.alloc(KEPT_BYTES)
  const reading = openSync(`/proc/self/fd/${fd}`, 'r')
  try {
    readSync(reading, tail, 0, KEPT_BYTES, file.size - KEPT_BYTES)
  } finally {
    closeSync(reading)
  }
  ftruncateSync(fd, 0)
  writeSync(fd, tail.subarray(tail.indexOf('\n') + 1))
}

/** See proc_pid_fdinfo(5): the flags of open(2), in octal. */
function isAppended(fd: number): boolean {
  const flags = /^flags:\s+([0-7]+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1]
  return (Number.parseInt(flags ?? '0', 8) & O_APPEND) !== 0
}
