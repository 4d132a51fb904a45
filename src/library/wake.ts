/**
 * Waiting for a TUN device to become readable, without a thread: the kernel sends a signal when a
 * packet comes (O_ASYNC and F_SETSIG in fcntl(2)), of which Node tells the event loop.
 */
import { isMainThread } from 'node:worker_threads'
import { checked } from '../linux/libc.ts'

// <asm-generic/fcntl.h>
const [F_SETFL, F_SETOWN, F_SETSIG] = [4, 8, 10]
const [O_RDWR, O_NONBLOCK, O_ASYNC] = [2, 0o4000, 0o20000]

/** SIGURG is ignored where nobody handles it. The default signal, SIGIO, would end the process. */
const SIGNAL = 23

/**
 * A suspended process gets no signals, and a signal handler keeps no process from ending. In a
 * worker thread Node tells of no signal at all.
 */
const LOOK_AGAIN_MS = isMainThread ? 1000 : 10

const fcntl = checked('fcntl', ['int', 'int', 'int'])
const waiting = new Set<() => void>()
let timer: NodeJS.Timeout | undefined

/** From now on the kernel signals this process when packets arrive at the TUN of `fd`. */
export function announcePackets(fd: number): void {
  fcntl(fd, F_SETOWN, process.pid)
  fcntl(fd, F_SETSIG, SIGNAL)
  fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK | O_ASYNC)
}

/** Resolves when a packet may have arrived at any device; at once when `signal` is aborted. */
export function packetMayHaveCome(signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    const done = () => {
      waiting.delete(done)
      signal.removeEventListener('abort', done)
      if (waiting.size === 0) stop()
      resolve()
    }
    signal.addEventListener('abort', done)
    if (waiting.size === 0) start()
    waiting.add(done)
    if (signal.aborted) done()
  })
}

const wakeAll = () => {
  for (const wake of [...waiting]) wake()
}

function start(): void {
  process.on('SIGURG', wakeAll)
  timer = setInterval(wakeAll, LOOK_AGAIN_MS)
}

function stop(): void {
  process.off('SIGURG', wakeAll)
  clearInterval(timer)
}
