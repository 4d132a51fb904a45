/** `tunlink capture LINK`. */
import { closeSync, openSync, writeSync } from 'node:fs'
import { VERSION } from '../agent/protocol.ts'
import type { LinkPlan } from '../link/plan.ts'
import { ifNameToIndex } from '../linux/libc.ts'
import { inNetns } from '../linux/netns.ts'
import { type CapturedPacket, PacketSocket } from '../linux/packet-socket.ts'
import { type Command, CommandError, DATA_DIR, type Given, usageError } from './command.ts'
import { findLink } from './find-link.ts'
import { plansOf, podOf } from './links.ts'
import { progress } from './output.ts'
import * as pcapng from './pcapng.ts'

/** Bytes: the largest packet before segmentation, without BIG TCP. */
const WHOLE = 65_575
const LEAST_SNAP = 64
/** The longest time before a signal is noticed. */
const TURN_MS = 100

export const command: Command = {
  usage: 'capture LINK [-w FILE] [OPTION...]',
  about: `Writes the packets of a link, both directions, in the format pcapng, until interrupted:
  tunlink capture LINK | tcpdump -nr -
  tunlink capture LINK | wireshark -k -i -
What is captured is what passes the node's end of the link; for the far end "attach", the pod's TUN.
Packets begin with their IP header (LINKTYPE_RAW), whatever the wire: the Ethernet header that the
kernel wire puts in front is left out. "Outbound" is what leaves by that device: on the node what is
for the pod, on the pod's TUN what the pod sends. Large TCP packets are not segmented yet, and have
no checksum.`,
  takesWords: true,
  options: {
    write: { value: 'FILE', short: 'w', default: '-', help: 'where to write; -: standard output' },
    count: { value: 'NUMBER', short: 'c', help: 'end after so many packets' },
    seconds: { value: 'SECONDS', help: 'end after so long' },
    snaplen: { value: 'BYTES', short: 's', default: String(WHOLE), help: 'keep no more of a packet' },
    'data-dir': DATA_DIR,
  },
  run: capture,
}

async function capture(given: Given): Promise<number> {
  const file = given.text('write')!
  const limits = { count: given.number('count', 1) ?? Infinity, seconds: given.number('seconds', 1) ?? Infinity }
  const snapLength = given.number('snaplen', LEAST_SNAP, WHOLE)!
  const plan = findLink(plansOf(given.dataDir), given.words)
  if (file === '-' && process.stdout.isTTY)
    throw usageError('packets are not for a terminal', 'give -w FILE, or "| tcpdump -nr -" behind it')
  const device = plan.host?.ifname ?? plan.ifname
  using socket = openSocket(plan, device, snapLength)
  const output = file === '-' ? 1 : openSync(file, 'w', 0o600)
  try {
    const comment = `${podOf(plan)} ${plan.ifname}, far end ${plan.farEnd}, wire ${plan.wire ?? 'none'}`
    writeAll(output, pcapng.beginning({ name: device, comment, snapLength, application: `tunlink ${VERSION}` }))
    const { count, dropped } = await pump(socket, output, limits)
    process.stderr.write(`${count} packets captured, ${dropped} dropped by the kernel\n`)
    return 0
  } finally {
    if (file !== '-') closeSync(output)
  }
}

function openSocket(plan: LinkPlan, device: string, snapLength: number): PacketSocket {
  const open = () => {
    const index = ifNameToIndex(device)
    if (index === 0) throw new CommandError(`device ${device} is missing`, 'see "tunlink show"')
    return new PacketSocket(index, snapLength)
  }
  return plan.host === undefined ? inNetns(plan.netns, open) : open()
}

/**
 * Copies packets from `socket` to `output`, until a limit, a signal, or the end of link or reader.
 */
async function pump(socket: PacketSocket, output: number, limits: { count: number; seconds: number }) {
  const until = performance.now() + limits.seconds * 1000
  let [count, isOver] = [0, false]
  const stop = () => {
    isOver = true
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, stop)
  while (!isOver && count < limits.count && performance.now() < until) {
    if (socket.wait(output, Math.min(TURN_MS, until - performance.now())) === 'closed') break
    const blocks = drain(socket, limits.count - count)
    count += blocks.length
    if (blocks.length > 0 && !writeAll(output, Buffer.concat(blocks))) break
    if (blocks.length === 0 && !socket.hasDevice()) {
      process.stderr.write('The link has gone\n')
      break
    }
    progress(`${count} packets`)
    await new Promise(resolve => setImmediate(resolve)) // lets signal handlers run
  }
  progress('')
  const dropped = socket.dropped()
  writeAll(output, pcapng.statistics(BigInt(Date.now()) * 1_000_000n, count, dropped))
  return { count, dropped }
}

const AT_ONCE = 256

/** The packets that have arrived, as blocks of the file. */
function drain(socket: PacketSocket, most: number): Buffer[] {
  const blocks: Buffer[] = []
  try {
    while (blocks.length < Math.min(most, AT_ONCE)) {
      const packet = socket.receive()
      if (packet === undefined) break
      blocks.push(encode(packet))
    }
  } catch (error) {
    // The device was set down: it may come up again, or is about to be deleted.
    if ((error as NodeJS.ErrnoException).code !== 'ENETDOWN') throw error
  }
  return blocks
}

const encode = ({ bytes, length, time, isOutgoing }: CapturedPacket) => pcapng.packet(bytes, length, time, isOutgoing)

/** False when nobody reads any more. Waits while the reader has no room. */
function writeAll(fd: number, bytes: Buffer): boolean {
  for (let at = 0; at < bytes.length; ) {
    try {
      at += writeSync(fd, bytes, at)
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === 'EPIPE') return false
      if (code !== 'EAGAIN') throw error
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1)
    }
  }
  return true
}
