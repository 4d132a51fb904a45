/**
 * Wires when threads fail and limits are small. In the place of TUN devices are eventfds: eight
 * bytes read from one are written to the other.
 */
import { spawnSync } from 'node:child_process'
import { closeSync, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { eventfd } from '../../../src/linux/libc.ts'
import { EFD_CLOEXEC, EFD_NONBLOCK } from '../../../src/linux/uapi.ts'
import { ioUringRefusal, wiresPerThread } from '../../../src/wire/threads/ring.ts'
import { WireThread } from '../../../src/wire/threads/thread.ts'
import { Wires, type WiresOptions } from '../../../src/wire/threads/wires.ts'
import { eventually } from '../../support.ts'

const entry = (name: string) => join(import.meta.dirname, `${name}-entry.ts`)
const ends = (podCount: number) => ({
  podFd: eventfd(podCount, EFD_CLOEXEC | EFD_NONBLOCK),
  hostFd: eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
})
const passes = (wires: Wires, id: string) => wires.counters(id)!.podToHost.packets > 0

/** Why there is no io_uring here. */
const here = ioUringRefusal(wiresPerThread(1024))

const test = suite('wires')
const cases: Wires[] = []
const make = (options: Omit<WiresOptions, 'onGone'>) => {
  const wires = new Wires({ ...options, onGone: () => {} })
  cases.push(wires)
  return wires
}
test.after.each(async () => {
  for (const wires of cases.splice(0)) await wires.close()
})

test('the room of a thread follows the limit of open files', () => {
  assert.equal([1024, 4096, 8192, 8193, 20_000, 2 ** 64].map(wiresPerThread), [511, 2047, 4095, 4096, 4096, 4096])
  assert.is(wiresPerThread(1), 1)
})

test('a thread that io_uring fails goes on by epoll, and the reason is told', async () => {
  const wires = make({ entry: entry('failing'), mode: 'io_uring' })
  wires.add('a', ends(1))
  await eventually('packets pass', () => passes(wires, 'a'), 30)
  assert.is(wires.mode, 'epoll')
  // where the kernel refuses io_uring, that is the reason
  assert.is(wires.refusal, here ?? 'its thread failed 5 times: refused by the test')
  assert.is(wires.threads.running, 1)
})

test('a wire whose thread cannot be had is not served; one whose thread runs is', async () => {
  const wires = make({ entry: entry('absent'), mode: 'epoll' })
  wires.add('a', ends(1))
  await eventually('it is told', () => !wires.serves('a'))
  const good = make({ entry: entry('plain'), mode: 'epoll' })
  good.add('b', ends(1))
  await eventually('packets pass', () => passes(good, 'b'))
  assert.ok(good.serves('b'))
  assert.not(good.serves('a'))
})

test('a wire is let go of at once while its thread waits to be started again', async () => {
  const wires = make({ entry: entry('failing'), mode: 'io_uring', threads: 1 })
  wires.add('gone', ends(1))
  wires.add('kept', ends(1))
  await eventually('the thread has failed', () => wires.threads.running === 0, 30)
  await wires.remove('gone')
  assert.is(wires.counters('gone'), undefined)
  // The thread that takes over tells of this wire too: its place must not be given away twice.
  await eventually('packets pass', () => wires.counters('kept')!.podToHost.packets > 1000, 30)
  wires.add('busy', ends(1))
  wires.add('idle', ends(0))
  await eventually('packets pass', () => wires.counters('busy')!.podToHost.packets > 1000, 30)
  assert.not.ok(passes(wires, 'idle'))
})

test('all threads stop while one waits to be started again', async () => {
  const wires = new Wires({ entry: entry('failing'), mode: 'io_uring', onGone: () => {} })
  wires.add('a', ends(1))
  await eventually('the thread has failed', () => wires.threads.running === 0, 30)
  await wires.close()
  assert.is(wires.threads.running, 0)
})

test('where the threads have no room left there is one more', async () => {
  const wires = make({ entry: entry('plain'), threads: 1, room: 2, mode: 'epoll' })
  for (const id of ['a', 'b', 'c', 'd', 'e']) wires.add(id, ends(1))
  assert.is(wires.threads.running, 3)
  await eventually('packets pass', () => ['a', 'b', 'c', 'd', 'e'].every(id => passes(wires, id)), 30)
})

for (const mode of ['io_uring', 'epoll'] as const) {
  if (mode === 'io_uring' && here !== undefined) continue
  test(`${mode}: threads that end or fail leave no descriptors`, async () => {
    const own = () => readdirSync('/proc/self/fd').length
    const round = async () => {
      process.env.DIE_FILE = join(directory, 'die')
      const wires = new Wires({ entry: entry('dying'), mode, onGone: () => {} })
      const both = ends(1)
      wires.add('a', both)
      await eventually('packets pass', () => passes(wires, 'a'), 30)
      writeFileSync(process.env.DIE_FILE, '')
      await eventually('the thread has died', () => !existsSync(process.env.DIE_FILE!), 30)
      await eventually('another one runs', () => wires.threads.running === 1, 30)
      const { packets } = wires.counters('a')!.podToHost
      // the one under way may have died with the thread
      writeSync(both.podFd, Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]))
      await eventually('packets pass again', () => wires.counters('a')!.podToHost.packets > packets, 30)
      await wires.close()
    }
    const directory = mkdtempSync(join(tmpdir(), 'tunlink-wires-'))
    try {
      await round() // what is loaded and opened once
      const before = own()
      for (let times = 0; times < 3; times++) await round()
      assert.is(own(), before)
    } finally {
      rmSync(directory, { recursive: true })
    }
  })
}

/** The refusal in a process that may open 100 files, for so many wires. */
function refusalWithFewFiles(wires: string): string {
  const script = `import { ioUringRefusal, wiresPerThread } from ${JSON.stringify(join(import.meta.dirname, '../../../src/wire/threads/ring.ts'))}
    console.log(ioUringRefusal(${wires}))`
  const command = ['--nofile=100:100', process.execPath, '--input-type=module-typescript', '-e', script]
  const { stdout, stderr } = spawnSync('prlimit', command, { encoding: 'utf8' })
  assert.is(stderr, '')
  return stdout.trim()
}

if (here !== undefined) console.log(`SKIPPED: what a limit of open files does to io_uring: ${here}`)
else {
  test('io_uring: packets pass, and a thread that is stopped has closed its ring, once', async () => {
    const wires = new Wires({ entry: entry('plain'), mode: 'io_uring', onGone: () => {} })
    wires.add('a', ends(1))
    await eventually('packets pass', () => passes(wires, 'a'), 30)
    await wires.close()
    assert.is(wires.mode, 'io_uring')
  })

  test('with few files: so many wires as there is room for, and a refusal in words of more', () => {
    assert.is(refusalWithFewFiles('wiresPerThread(100)'), 'undefined')
    assert.match(refusalWithFewFiles('4096'), /io_uring_register of 8193 files: EMFILE/)
  })
}

test('who waits in vain for a wire that was let go of takes nothing from the next wire in its place', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'tunlink-held-'))
  process.env.HELD_FILE = join(directory, 'held')
  writeFileSync(process.env.HELD_FILE, '')
  const thread = new WireThread(
    { entry: entry('held'), mode: 'epoll', spin: 0, room: 1 },
    () => {},
    () => {},
  )
  const { podFd, hostFd } = ends(0)
  try {
    const gone = thread.join(podFd, hostFd)
    const inVain = thread.carried(gone, 300).then(
      () => 'carried',
      () => 'in vain',
    )
    await thread.part(gone)
    const next = thread.join(podFd, hostFd)
    assert.is(next, gone)
    const carried = thread.carried(next, 20_000)
    assert.is(await inVain, 'in vain')
    rmSync(process.env.HELD_FILE)
    await carried
  } finally {
    await thread.stop()
    for (const fd of [podFd, hostFd]) closeSync(fd)
    rmSync(directory, { recursive: true })
  }
})

test.run()
