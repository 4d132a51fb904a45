/** The library against the kernel: each test in a network namespace of its own. Root. */
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, fstatSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { IFF_MULTI_QUEUE, IFF_NO_PI, IFF_TAP, IFF_TUN, TunDevice } from '../../src/library/index.ts'
import { inside, ip, pings } from '../support.ts'

const test = suite('TunDevice')

let made = 0
/** A test with a network namespace. */
const testIn = (name: string, body: (netns: string, path: string) => Promise<void> | void) =>
  test(name, async () => {
    if (process.getuid?.() !== 0) throw new Error('This makes network namespaces and TUN devices: run it as root')
    const netns = `tlt-${process.pid}-lib${made++}`
    execFileSync('ip', ['netns', 'add', netns])
    inside(netns, 'ip', 'link', 'set', 'lo', 'up')
    try {
      await body(netns, `/run/netns/${netns}`)
    } finally {
      execFileSync('ip', ['netns', 'del', netns])
    }
  })

const addresses = (netns: string, name: string) =>
  inside(netns, 'ip', '-o', '-4', 'address', 'show', 'dev', name).match(/(?<=inet ).*?(?= scope)/g)

testIn("pytun's snippet: a TUN with addr, dstaddr, netmask and mtu", async (netns, path) => {
  using tun = new TunDevice({ name: 'mytun', netns: path })
  tun.addr = '10.8.0.1'
  tun.dstaddr = '10.8.0.2'
  tun.netmask = '255.255.255.255'
  tun.mtu = 1400
  tun.up()
  assert.equal(addresses(netns, 'mytun'), ['10.8.0.1 peer 10.8.0.2/32'])
  assert.equal(
    [tun.name, tun.addr, tun.dstaddr, tun.netmask, tun.mtu, tun.isUp],
    ['mytun', '10.8.0.1', '10.8.0.2', '255.255.255.255', 1400, true],
  )
  tun.netmask = '255.255.255.0'
  assert.equal(addresses(netns, 'mytun'), ['10.8.0.1 peer 10.8.0.2/24'])
  assert.is(tun.hwaddr, undefined)
  tun.down()
  assert.is(tun.isUp, false)
})
testIn('read() waits for a packet and write() answers it: a ping responder', async (netns, path) => {
  using tun = new TunDevice({ netns: path })
  assert.is(tun.name, 'tun0')
  tun.add('10.8.0.1', '10.8.0.2')
  tun.up()
  const answering = (async () => {
    for await (const packet of tun) {
      if (packet[0]! >> 4 !== 4 || packet[9] !== 1) continue
      const [source, destination] = [Buffer.from(packet.subarray(12, 16)), Buffer.from(packet.subarray(16, 20))]
      packet.set(destination, 12)
      packet.set(source, 16)
      packet[20] = 0 // echo reply: 8 less, so the checksum is 0x0800 more
      const checksum = packet.readUInt16BE(22) + 0x0800
      packet.writeUInt16BE((checksum & 0xffff) + (checksum >> 16), 22)
      tun.write(packet)
    }
  })()
  const { execFile } = await import('node:child_process')
  const output = await new Promise<string>(done =>
    execFile('ip', ['netns', 'exec', netns, 'ping', '-c', '3', '-i', '0.2', '-W', '5', '10.8.0.2'], (_, stdout) => done(stdout)),
  )
  assert.match(output, /3 packets transmitted, 3 received/)
  assert.ok(tun.stats.rxPackets >= 3 && tun.stats.txPackets >= 3)
  tun.close()
  await answering
})
testIn('a TAP has a hardware address; several queues are one device; it goes when all are closed', (netns, path) => {
  using tap = new TunDevice({ name: 'tap%d', flags: IFF_TAP | IFF_NO_PI | IFF_MULTI_QUEUE, netns: path })
  tap.hwaddr = '02:00:00:00:00:01'
  assert.equal([tap.name, tap.hwaddr], ['tap0', '02:00:00:00:00:01'])
  const other = tap.queue()
  tap.close()
  assert.is(ip(netns, 'link', 'show', 'dev', 'tap0').length, 1)
  other.close()
  assert.not.match(inside(netns, 'ip', 'link'), /tap0/)
})
testIn('persist() keeps the device, IPv6 and prefixes can be added and deleted', (netns, path) => {
  const tun = new TunDevice({ name: 'kept', netns: path })
  tun.persist()
  tun.up()
  tun.add('fd66::1', 'fd66::2/128')
  tun.add('10.8.0.1/24')
  assert.equal(
    tun.addresses.filter(({ local }) => !local.startsWith('fe80')),
    [
      { local: '10.8.0.1', prefix: 24 },
      { local: 'fd66::1', peer: 'fd66::2', prefix: 128 },
    ],
  )
  tun.delete('10.8.0.1/24')
  tun.close()
  assert.not.ok(pings(netns, '10.8.0.1'))
  using again = new TunDevice({ name: 'kept', flags: IFF_TUN | IFF_NO_PI, netns: path })
  again.persist(false)
})
testIn('what docs/library.md says that `ip address` and `ip route` show is what they show', (netns, path) => {
  const page = readFileSync(new URL('../../docs/library.md', import.meta.url), 'utf8')
  const rows = [...page.matchAll(/^\| `add\((.*?)\)`.*? \| `(.*?)` \| (.*?) \|/gm)]
  assert.is(rows.length, 5)
  for (const [, args, address, route] of rows) {
    using tun = new TunDevice({ netns: path })
    const [local, peer] = args!.split(', ').map(text => text.slice(1, -1))
    tun.add(local!, peer)
    tun.up()
    assert.equal(addresses(netns, tun.name), [address], args)
    const shown = inside(netns, 'ip', 'route')
      .replace(/ proto kernel scope link| linkdown/g, '')
      .trim()
    assert.is(shown, route === 'nothing' ? '' : route!.slice(1, -1), args)
  }
})
testIn('a read that waits when the device is closed is rejected; errors name what is wrong', async (_, path) => {
  const tun = new TunDevice({ name: 'closing', netns: path })
  const reading = tun.read()
  tun.close()
  const error = await reading.then(
    () => undefined,
    (error: NodeJS.ErrnoException) => error,
  )
  assert.is(error?.code, 'EBADF')
  for (const [attempt, words] of [
    [() => new TunDevice({ name: 'sixteen-letters-', netns: path }), /at most 15 bytes/],
    [() => new TunDevice({ netns: '/dev/null' }), /"\/dev\/null" is not a network namespace/],
    [() => new TunDevice({ netns: path }).queue(), /IFF_MULTI_QUEUE/],
    [() => Object.assign(new TunDevice({ netns: path }), { dstaddr: '10.8.0.2' }), /"dstaddr" goes with "addr"/],
    [() => Object.assign(new TunDevice({ netns: path }), { addr: 'fd66::1' }), /"addr" must be an IPv4 address, not "fd66::1"/],
    [() => Object.assign(new TunDevice({ netns: path }), { hwaddr: '2' }), /"hwaddr" must be six hexadecimal bytes/],
    [() => new TunDevice({ netns: path }).add('10.8.0'), /Cannot parse "10.8.0"/],
  ] as const)
    assert.throws(attempt, words)
})
testIn('timers and signals have their turn while packets come faster than they are read', async (netns, path) => {
  using tun = new TunDevice({ netns: path })
  tun.add('10.8.0.1', '10.8.0.2')
  tun.up()
  inside(netns, 'bash', '-c', 'for ((count = 0; count < 300; count++)); do echo x >/dev/udp/10.8.0.2/9; done')
  let [turns, packets, isOver] = [0, 0, false]
  const turn = () => {
    turns++
    if (!isOver) setImmediate(turn)
  }
  setImmediate(turn)
  for await (const _ of tun) if (++packets === 300) break
  isOver = true
  assert.ok(turns >= 4, `${turns} turns`)
})
testIn('a worker thread, which gets no signals, does not wait for a second either', async (netns, path) => {
  const library = new URL('../../src/library/index.ts', import.meta.url).href
  const program = `
    const { parentPort, workerData } = require('node:worker_threads')
    import(${JSON.stringify(library)}).then(async ({ TunDevice }) => {
      const tun = new TunDevice({ netns: workerData })
      tun.add('10.8.0.1', '10.8.0.2')
      tun.up()
      parentPort.postMessage('up')
      for await (const packet of tun) if (packet[9] === 17) parentPort.postMessage('packet')
    })`
  const worker = new Worker(program, { eval: true, workerData: path, trackUnmanagedFds: false })
  try {
    await once(worker, 'message')
    let waitedMs = 0
    for (let count = 0; count < 5; count++) {
      inside(netns, 'bash', '-c', 'echo x >/dev/udp/10.8.0.2/9')
      const sentMs = performance.now()
      await once(worker, 'message')
      waitedMs += performance.now() - sentMs
    }
    assert.ok(waitedMs < 1_000, `${waitedMs} ms for five packets`)
  } finally {
    await worker.terminate()
  }
})
testIn('a closed device reaches nothing that was opened since', (_, path) => {
  const directory = mkdtempSync(join(tmpdir(), 'tunlink-closed-'))
  const tun = new TunDevice({ name: 'closing', netns: path, flags: IFF_TUN | IFF_NO_PI | IFF_MULTI_QUEUE })
  tun.close()
  tun.close()
  // they get the numbers that the device had
  const files = [0, 1, 2].map(at => openSync(join(directory, String(at)), 'w+'))
  try {
    for (const use of [
      () => tun.write(Buffer.from('packet')),
      () => tun.readNow(),
      () => tun.fileno(),
      () => tun.persist(),
      () => tun.queue(),
      () => tun.up(),
      () => tun.mtu,
      () => tun.addresses,
      () => tun.add('10.8.0.1/24'),
    ])
      assert.throws(use, (error: NodeJS.ErrnoException) => error.code === 'EBADF' && error.message === 'closing is closed', String(use))
    assert.equal(
      files.map(file => fstatSync(file).size),
      [0, 0, 0],
    )
  } finally {
    for (const file of files) closeSync(file)
    rmSync(directory, { recursive: true })
  }
})

test.run()
