/**
 * A process at the far end of an `attach` link: `echo.ts IFNAME` attaches to the device in its own
 * namespace and answers every ping.
 */
import { readSync, writeSync } from 'node:fs'
import { attachTun } from '../src/linux/tun.ts'

const fd = attachTun({ name: process.argv[2]!, vnetHdr: false })
console.log('attached')
const packet = Buffer.alloc(65536)
for (;;) {
  try {
    const length = readSync(fd, packet)
    // ICMP echo requests over IPv4 alone
    if (packet[0]! >> 4 !== 4 || packet[9] !== 1 || packet[20] !== 8) continue
    const [source, destination] = [packet.subarray(12, 16), packet.subarray(16, 20)].map(address => Buffer.from(address))
    destination!.copy(packet, 12)
    source!.copy(packet, 16)
    // an echo reply; the sum of the header words falls by 0x0800, so the checksum rises by as much
    packet[20] = 0
    const checksum = packet.readUInt16BE(22) + 0x0800
    packet.writeUInt16BE((checksum & 0xffff) + (checksum >> 16), 22)
    writeSync(fd, packet, 0, length)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5)
  }
}
