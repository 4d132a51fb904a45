/**
 * `rr.ts serve PORT` and `rr.ts ask ADDRESS PORT SECONDS`: one byte there, one byte back, over TCP,
 * each side blocking in recv(2). The asking side prints JSON: transactions per second, and the 50th
 * and 99th percentile of a transaction in microseconds.
 */
import { recv, send } from '../src/linux/libc.ts'
import { percentile } from './measure.ts'
import { accept, close, connected, listening } from './sockets.ts'

function serve(port: number): void {
  const fd = listening(port, 'stream')
  console.error('listening')
  for (;;) {
    const accepted = accept(fd)
    const byte = Buffer.alloc(1)
    try {
      while (recv(accepted, byte, 1, 0) === 1) send(accepted, byte, 1, 0)
    } catch {
      // The asking side has ended.
    }
    close(accepted)
  }
}

function ask(address: string, port: number, seconds: number): void {
  const fd = connected(address, port, 'stream')
  const byte = Buffer.alloc(1)
  const times: number[] = []
  const started = performance.now()
  for (let now = started; now - started < seconds * 1000; ) {
    send(fd, byte, 1, 0)
    recv(fd, byte, 1, 0)
    const then = now
    now = performance.now()
    times.push((now - then) * 1000)
  }
  const perSecond = (times.length / (performance.now() - started)) * 1000
  console.log(JSON.stringify({ perSecond, p50: percentile(times, 0.5), p99: percentile(times, 0.99) }))
}

const [role, ...rest] = process.argv.slice(2)
if (role === 'serve') serve(Number(rest[0]))
else ask(rest[0]!, Number(rest[1]), Number(rest[2]))
