/** read(2) and write(2) until all is done: see signal(7), and "O_NONBLOCK" in open(2). */
import { readSync, writeSync } from 'node:fs'

const WAIT_MS = 1
const MOST_WAITS = 10_000
const CHUNK = 64 << 10
const asleep = new Int32Array(new SharedArrayBuffer(4))

/**
 * All bytes until the end of the file, as text: again after a signal (EINTR), and for ten seconds
 * in a row while a non-blocking pipe is empty (EAGAIN). Throws the error of read(2).
 */
export function readAll(fd: number): string {
  const chunks: Buffer[] = []
  for (;;) {
    const chunk = Buffer.alloc(CHUNK)
    const length = patiently(() => readSync(fd, chunk, 0, CHUNK, null))
    if (length === 0) return Buffer.concat(chunks).toString()
    chunks.push(chunk.subarray(0, length))
  }
}

/**
 * Writes all of `text`: again after a signal (EINTR), and for ten seconds in a row while a
 * non-blocking pipe is full (EAGAIN). Throws the error of write(2).
 */
export function writeAll(fd: number, text: string): void {
  const bytes = Buffer.from(text)
  for (let at = 0; at < bytes.length; ) at += patiently(() => writeSync(fd, bytes, at, bytes.length - at))
}

/** A line on standard error, for people: nothing fails where nobody can read it. */
export function tell(line: string): void {
  try {
    writeSync(2, `${line}\n`)
  } catch {
    // closed, full, or a terminal that is gone
  }
}

function patiently(call: () => number): number {
  for (let waits = 1; ; waits++) {
    try {
      return call()
    } catch (error) {
      if (!['EINTR', 'EAGAIN'].includes((error as NodeJS.ErrnoException).code ?? '') || waits > MOST_WAITS) throw error
      Atomics.wait(asleep, 0, 0, WAIT_MS)
    }
  }
}
