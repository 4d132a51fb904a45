/** TUN devices that others delete at the same moment. */
import { spawn } from 'node:child_process'
import { closeSync } from 'node:fs'
import { setImmediate } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { ioctl } from '../../src/linux/libc.ts'
import { inNetns } from '../../src/linux/netns.ts'
import { attachTun } from '../../src/linux/tun.ts'
import { IFNAMSIZ, TUNGETIFF } from '../../src/linux/uapi.ts'
import { inside, Lab } from '../support.ts'

const test = suite('tun')
const TIMES = 100
const IFF_PERSIST = 0x0800

/** Devices made by ip(8) persist: one that does not was made by the descriptor itself. */
function persists(fd: number): boolean {
  const ifreq = Buffer.alloc(40)
  ioctl(fd, TUNGETIFF, ifreq) // EBADFD: it was deleted
  return (ifreq.readUInt16LE(IFNAMSIZ) & IFF_PERSIST) !== 0
}

test('attachTun() never makes a device, also when that which was there has just been deleted', async () => {
  using lab = new Lab()
  const pod = lab.netns()
  const attach = () => inNetns(`/run/netns/${pod}`, () => attachTun({ name: 'tun0', vnetHdr: false }))
  const ip = spawn('ip', ['-n', pod, '-force', '-batch', '-'], { stdio: ['pipe', 'ignore', 'ignore'] })
  ip.stdin!.end('tuntap add dev tun0 mode tun\nlink delete tun0\n'.repeat(TIMES))
  const seen = { attached: 0, made: 0, refusals: new Set<string>() }
  let isRunning = true
  ip.on('close', () => (isRunning = false))
  for (; isRunning; await setImmediate()) {
    for (let tries = 0; tries < 100; tries++) {
      try {
        const fd = attach()
        try {
          seen[persists(fd) ? 'attached' : 'made']++
        } finally {
          closeSync(fd)
        }
      } catch (error) {
        seen.refusals.add((error as NodeJS.ErrnoException).code!)
      }
    }
  }
  assert.is(seen.made, 0, JSON.stringify(seen))
  assert.throws(attach, /ENODEV/)
  inside(pod, 'ip', 'tuntap', 'add', 'dev', 'tun0', 'mode', 'tun')
  const fd = attach()
  assert.ok(persists(fd))
  closeSync(fd)
})

test.run()
