/** `tunlink capture`, of each wire, against what ping sends. */
import { spawn } from 'node:child_process'
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { eventually, inside, ip, Lab } from '../support.ts'
import { tunlink, tunlinkBeside } from './run.ts'

const test = suite('capture')
let lab: Lab
test.before(() => {
  lab = new Lab()
})
test.after(() => lab.close())

const ENHANCED_PACKET = 6

/** Packets of a file, and whether they are outbound. Asserts that the blocks are well chained. */
function packetsOf(file: Buffer): { bytes: Buffer; isOutbound: boolean }[] {
  const found: { bytes: Buffer; isOutbound: boolean }[] = []
  for (let at = 0; at < file.length; ) {
    const length = file.readUInt32LE(at + 4)
    assert.is(file.readUInt32LE(at + length - 4), length)
    if (file.readUInt32LE(at) === ENHANCED_PACKET) {
      const captured = file.readUInt32LE(at + 20)
      // behind the packet: one option of 8 bytes, its end, the block's length
      found.push({ bytes: file.subarray(at + 28, at + 28 + captured), isOutbound: file[at + length - 12] === 2 })
    }
    at += length
  }
  return found
}

/** `SOURCE > DESTINATION in|out` of each echo request and answer. */
const echoes = (file: Buffer): string[] =>
  packetsOf(file)
    .filter(({ bytes }) => bytes[0] === 0x45 && bytes[9] === 1)
    .map(
      ({ bytes, isOutbound }) =>
        `${[...bytes.subarray(12, 16)].join('.')} > ${[...bytes.subarray(16, 20)].join('.')} ${isOutbound ? 'out' : 'in'}`,
    )

for (const wire of ['kernel', 'thread'])
  test(`both directions of a ${wire} wire, from the IP header on`, async () => {
    const pod = lab.netns()
    lab.must('ADD', pod, { wire })
    const [{ local, address }] = ip(pod, '-4', 'addr', 'show', 'dev', 'eth0')[0].addr_info
    const file = join(lab.dataDir, `${wire}.pcapng`)
    const capture = tunlinkBeside(lab, ['capture', pod, '-w', file, '--data-dir', lab.dataDir])
    const ended = new Promise<number | null>(resolve => capture.on('close', resolve))
    await eventually('the capture has begun', () => (statSync(file, { throwIfNoEntry: false })?.size ?? 0) > 0)
    const begun = statSync(file).size
    inside(pod, 'ping', '-c', '2', '-i', '0.2', '-W', '10', address)
    await eventually('the packets are written', () => statSync(file).size > begun && echoes(readFileSync(file)).length === 4)
    capture.kill('SIGINT')
    assert.is(await ended, 0)
    assert.equal(echoes(readFileSync(file)), [
      `${local} > ${address} in`,
      `${address} > ${local} out`,
      `${local} > ${address} in`,
      `${address} > ${local} out`,
    ])
    lab.must('DEL', pod)
  })

test('a TUN whose far end attaches is captured in the pod, and --count ends it', async () => {
  const blue = lab.netns()
  const up = ['up', '--netns', blue, '--local', '10.99.0.1', '--peer', '10.99.0.2', '--owner', '0', '--data-dir', lab.dataDir]
  assert.is(tunlink(lab, up).status, 0)
  // somebody attaches, so that the device sends
  const attached = spawn('ip', ['netns', 'exec', blue, process.execPath, join(import.meta.dirname, 'attach.ts')], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  await new Promise(resolve => attached.stdout.once('data', resolve))
  const capture = tunlinkBeside(lab, ['capture', blue, '--count', '1', '--data-dir', lab.dataDir])
  const chunks: Buffer[] = []
  capture.stdout.on('data', chunk => chunks.push(chunk))
  const ended = new Promise<number | null>(resolve => capture.on('close', resolve))
  await eventually('the capture has begun', () => chunks.length > 0)
  spawn('ip', ['netns', 'exec', blue, 'ping', '-c', '1', '-W', '1', '10.99.0.2'], { stdio: 'ignore' })
  assert.is(await ended, 0)
  assert.equal(echoes(Buffer.concat(chunks)), ['10.99.0.1 > 10.99.0.2 out'])
  attached.stdin.end()
})

test('it ends when its reader does, and when the link is deleted', async () => {
  const pod = lab.netns()
  lab.must('ADD', pod)
  const words = ['capture', pod, '--data-dir', lab.dataDir]
  const unread = tunlinkBeside(lab, words)
  const unreadEnds = new Promise<number | null>(resolve => unread.on('close', resolve))
  unread.stdout.once('data', () => unread.stdout.destroy())
  assert.is(await unreadEnds, 0)
  const deleted = tunlinkBeside(lab, words)
  const deletedEnds = new Promise<number | null>(resolve => deleted.on('close', resolve))
  let errors = ''
  deleted.stderr.on('data', chunk => (errors += chunk))
  await new Promise(resolve => deleted.stdout.once('data', resolve))
  lab.must('DEL', pod)
  assert.is(await deletedEnds, 0)
  assert.match(errors, /^The link has gone$/m)
})

test.run()
