/**
 * The device plugin against the kubelet's side of its API. A file stands for the node's
 * /dev/net/tun: a symbolic link to /dev/null is a character device that can come and go.
 */
import { chmodSync, existsSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { getChannelzHandlers } from '@grpc/grpc-js'
import fc from 'fast-check'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { allocateRequest } from '../../src/node/device-plugin/api.ts'
import { DevicePlugin } from '../../src/node/device-plugin/device-plugin.ts'
import { serve } from '../../src/node/device-plugin/grpc.ts'
import { decode, encode } from '../../src/node/device-plugin/protobuf.ts'
import { eventually } from '../support.ts'
import { FakeKubelet } from './fake-kubelet.ts'

const test = suite('device plugin')

class Bench {
  readonly kubelet = new FakeKubelet()
  readonly #directory = mkdtempSync(join(tmpdir(), 'tld-'))
  readonly devicePath = join(this.#directory, 'tun')
  readonly plugin: DevicePlugin

  constructor(devices = 3) {
    this.addDevice()
    this.plugin = new DevicePlugin({ directory: this.kubelet.directory, devices, devicePath: this.devicePath })
  }

  addDevice = () => symlinkSync('/dev/null', this.devicePath)
  removeDevice = () => rmSync(this.devicePath)
  get socket(): string {
    return join(this.kubelet.directory, 'tunlink.dev-net-tun.sock')
  }

  /** Health of the devices, in order. */
  get health(): string[] {
    return [...(this.kubelet.devices?.values() ?? [])]
  }

  async until(what: string, ...health: string[]): Promise<void> {
    await eventually(`${what}: ${health}`, () => this.health.join() === health.join(), 5)
  }

  close(): void {
    this.plugin.end()
    this.kubelet.close()
    rmSync(this.#directory, { recursive: true })
  }
}

const bench = (name: string, body: (bench: Bench) => Promise<void>, devices?: number) =>
  test(name, async () => {
    const bench = new Bench(devices)
    try {
      await bench.kubelet.start()
      await body(bench)
    } finally {
      bench.close()
    }
  })

const HEALTHY = ['Healthy', 'Healthy', 'Healthy']

bench('it registers once, and lists its devices', async ({ kubelet, plugin }) => {
  assert.equal([await plugin.ensure(), await plugin.ensure(), await plugin.ensure()], [true, false, false])
  assert.equal(kubelet.registrations, [{ version: 'v1beta1', endpoint: 'tunlink.dev-net-tun.sock', resource: 'tunlink.dev/net-tun' }])
  await eventually('the kubelet has the list', () => kubelet.devices !== undefined, 5)
  assert.equal([...kubelet.devices!.keys()], ['net-tun-0', 'net-tun-1', 'net-tun-2'])
  assert.equal([...kubelet.devices!.values()], HEALTHY)
  assert.is(kubelet.lists, 1)
  assert.is((await kubelet.options()).length, 0)
})
bench('each container gets /dev/net/tun, to read and write', async ({ kubelet, plugin }) => {
  await plugin.ensure()
  const tun = { containerPath: '/dev/net/tun', hostPath: '/dev/net/tun', permissions: 'rw' }
  assert.equal(await kubelet.allocate(['net-tun-1']), [[tun]])
  assert.equal(await kubelet.allocate(['net-tun-0'], ['net-tun-2']), [[tun], [tun]])
})
bench('a kubelet of 1.26 or later, whose authority is localhost, is served as one before', async ({ kubelet, plugin }) => {
  kubelet.authority = 'localhost'
  await plugin.ensure()
  await eventually('the kubelet has the list', () => kubelet.devices?.size === 3, 5)
  for (let time = 0; time < 3; time++) assert.is((await kubelet.allocate(['net-tun-1'])).length, 1)
})
bench('devices are unhealthy while the file is away, or is no device, and none is given', async bench => {
  const { kubelet, plugin } = bench
  await plugin.ensure()
  await bench.until('at first', ...HEALTHY)
  bench.removeDevice()
  const refusal = await kubelet.allocate(['net-tun-0']).then(
    () => 'none',
    (error: Error) => error.message,
  )
  assert.match(refusal, /UNAVAILABLE: \/dev\/net\/tun is not there: load the module tun/)
  await bench.until('without the file', 'Unhealthy', 'Unhealthy', 'Unhealthy')
  assert.is(plugin.isHealthy, false)
  writeFileSync(bench.devicePath, '')
  await plugin.ensure()
  assert.is(plugin.isHealthy, false)
  bench.removeDevice()
  bench.addDevice()
  await plugin.ensure()
  await bench.until('with the file', ...HEALTHY)
  assert.is(kubelet.registrations.length, 1)
})
bench('a kubelet that starts again has it registered again', async bench => {
  const { kubelet, plugin } = bench
  await plugin.ensure()
  for (let restarts = 1; restarts <= 3; restarts++) {
    kubelet.stop()
    await kubelet.start()
    assert.not(existsSync(bench.socket), 'the kubelet empties its directory')
    await plugin.ensure()
    assert.is(kubelet.registrations.length, 1 + restarts)
    await bench.until('listed again', ...HEALTHY)
  }
})
bench('its socket, removed, is made anew and registered', async bench => {
  await bench.plugin.ensure()
  rmSync(bench.socket)
  await bench.plugin.ensure()
  assert.is(bench.kubelet.registrations.length, 2)
  await bench.until('listed again', ...HEALTHY)
  assert.is((await bench.kubelet.allocate(['net-tun-0'])).length, 1)
})
bench('a stale socket of a killed process is no obstacle', async bench => {
  writeFileSync(bench.socket, '')
  await bench.plugin.ensure()
  await bench.until('listed', ...HEALTHY)
})
bench('a kubelet that has ended the stream has it registered again after 10 s, not before', async bench => {
  const { kubelet, plugin } = bench
  await plugin.ensure()
  await bench.until('at first', ...HEALTHY)
  kubelet.forget()
  const started = Date.now()
  while (kubelet.registrations.length === 1) {
    assert.ok(Date.now() - started < 15_000, 'registered again')
    await plugin.ensure()
    await new Promise(done => setTimeout(done, 50))
  }
  assert.ok(Date.now() - started > 9_000, 'a kubelet that restarts is given the time')
  await bench.until('listed again', ...HEALTHY)
})
bench('no kubelet, and one that refuses, are told with the path of its socket', async bench => {
  const { kubelet, plugin } = bench
  kubelet.refusal = 'requested API version is not supported'
  const failure = () =>
    plugin.ensure().then(
      () => 'none',
      (error: Error) => error.message,
    )
  const refused = /^Cannot register tunlink\.dev\/net-tun with the kubelet at .*kubelet\.sock: 2 UNKNOWN: requested API version/
  assert.match(await failure(), refused)
  assert.not(existsSync(bench.socket), 'nothing serves')
  kubelet.refusal = undefined
  await plugin.ensure()
  kubelet.stop()
  rmSync(join(kubelet.directory, 'kubelet.sock'), { force: true })
  assert.match(await failure(), /^No kubelet listens at .*kubelet\.sock/)
})
bench('end() ends the stream and removes the socket', async bench => {
  await bench.plugin.ensure()
  await bench.until('at first', ...HEALTHY)
  bench.plugin.end()
  await eventually('the stream has ended', () => bench.kubelet.devices === undefined, 5)
  assert.not(existsSync(bench.socket))
})
bench('end() while it registers leaves no socket, and nothing is registered', async bench => {
  const ensured = bench.plugin.ensure()
  bench.plugin.end()
  assert.is(await ensured, false)
  assert.not(existsSync(bench.socket))
  assert.equal(bench.kubelet.registrations, [])
})
bench('a kubelet whose socket has changed while it registered is not taken for one that knows it', async ({ kubelet, plugin }) => {
  // gives the socket another time of change
  kubelet.registering = () => chmodSync(join(kubelet.directory, 'kubelet.sock'), 0o700)
  await plugin.ensure()
  kubelet.registering = () => {}
  assert.equal([await plugin.ensure(), await plugin.ensure()], [true, false])
})
bench('a jump of the wall clock does not register it again', async bench => {
  const { kubelet, plugin } = bench
  await plugin.ensure()
  await bench.until('at first', ...HEALTHY)
  kubelet.forget()
  await new Promise(done => setTimeout(done, 200)) // until the plugin has heard of it
  const { now } = Date
  Date.now = () => now() + 3_600_000
  try {
    assert.is(await plugin.ensure(), false)
  } finally {
    Date.now = now
  }
})
bench('a socket that cannot be made leaves no server behind', async ({ kubelet }) => {
  const path = join(kubelet.directory, 'absent', 'socket')
  const before = grpcServers()
  const failure = await serve(path, 'none', { unary: { None: request => request }, streams: {} }).catch((error: Error) => error.message)
  assert.match(String(failure), /^Cannot listen at .*absent\/socket: listen E/)
  assert.is(grpcServers(), before)
})
bench(
  '10,000 devices are one message',
  async bench => {
    await bench.plugin.ensure()
    await eventually('the kubelet has them', () => bench.kubelet.devices?.size === 10_000, 5)
    assert.is(bench.kubelet.lists, 1)
  },
  10_000,
)

/** How many servers the registry of gRPC has. */
function grpcServers(): number | undefined {
  let count: number | undefined
  const handlers = getChannelzHandlers() as {
    GetServers(call: object, answer: (error: unknown, list: { server: unknown[] }) => void): void
  }
  handlers.GetServers({ request: { start_server_id: 0, max_results: 1_000 } }, (_, { server }) => {
    count = server.length
  })
  return count
}

test('decode() of any bytes is values or a RangeError', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), bytes => {
      try {
        assert.ok(allocateRequest(Buffer.from(bytes)).every(Array.isArray))
      } catch (error) {
        assert.instance(error, RangeError)
      }
    }),
  )
})
test('encode() and decode(): fields by number, lengths of two bytes, what is skipped', () => {
  const long = 'x'.repeat(300)
  const message = encode([
    [1, 'one'],
    [1, long],
    [16, [[2, 'inner']]],
  ])
  assert.is(message.subarray(0, 7).toString('hex'), '0a036f6e650aac')
  assert.equal(decode(message, 1).map(String), ['one', long])
  assert.equal(decode(decode(message, 16)[0]!, 2).map(String), ['inner'])
  assert.equal(decode(message, 3), [])
  // a varint, 64 bits, 32 bits, "a"
  const fixed = Buffer.from('1801' + '0900000000000000000d000000000a0161', 'hex')
  assert.equal(decode(fixed, 1).map(String), ['a'])
})
test('decode() refuses whatever is cut short', () => {
  const message = encode([[1, [[1, 'net-tun-0']]]])
  assert.equal(allocateRequest(message), [['net-tun-0']])
  for (let length = 1; length < message.length; length++)
    assert.throws(
      () => decode(message.subarray(0, length), 1),
      (error: Error) => error instanceof RangeError,
    )
  assert.throws(() => decode(Buffer.from([0x0b]), 1), /there is no wire type 3/)
})

test.run()
