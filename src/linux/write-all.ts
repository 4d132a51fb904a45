import { writeSync } from 'node:fs'

const WAIT_MS = 1
const MOST_WAITS = 10_000
const asleep = new Int32Array(new SharedArrayBuffer(4))

/**
 * write(2) until all of `text` is written: again after a signal (EINTR), and for ten seconds while
 * a non-blocking pipe is full (EAGAIN). Throws the error of write(2).
 */
export function writeAll(fd: number, text: string): void {
  const bytes = Buffer.from(text)
  for (let [at, waits] = [0, 0]; at < bytes.length; ) {
    try {
      at += writeSync(fd, bytes, at, bytes.length - at)
    } catch (error) {
      if (!['EINTR', 'EAGAIN'].includes((error as NodeJS.ErrnoException).code ?? '') || ++waits > MOST_WAITS) throw error
      Atomics.wait(asleep, 0, 0, WAIT_MS)
    }
  }
}
