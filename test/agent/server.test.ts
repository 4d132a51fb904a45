/**
 * What comes over the agent's socket: whatever it is, it is answered or dropped, and the agent goes
 * on.
 */
import { closeSync, mkdtempSync, rmSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { socketPath } from '../../src/agent/protocol.ts'
import { type Caller, LineServer, MAX_LINE } from '../../src/agent/server.ts'
import { listenUnix } from '../../src/linux/unix-socket.ts'
import { EXECUTABLES, eventually, Lab } from '../support.ts'
import { startAgent, status } from './agents.ts'

const test = suite('server')

/** A connection, and the lines that have come over it. */
class Client {
  readonly socket: Socket
  readonly lines: string[] = []
  closed = false

  constructor(path: string) {
    let text = ''
    this.socket = connect(path)
    this.socket.on('error', () => {})
    this.socket.on('close', () => {
      this.closed = true
    })
    this.socket.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
      const lines = text.split('\n')
      text = lines.pop()!
      this.lines.push(...lines)
    })
  }

  async answers(count: number): Promise<string[]> {
    await eventually(`${count} answers`, () => this.lines.length >= count)
    return this.lines
  }
}

type Respond = (line: string, caller: Caller) => Promise<string | undefined>

async function withServer(respond: Respond, body: (path: string, server: LineServer) => Promise<void>, silentMs?: number): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'tunlink-test-'))
  const path = join(directory, 's')
  const server = new LineServer({ listening: listenUnix(path, 16), respond, tooLong: 'too long', ...(silentMs ? { silentMs } : {}) })
  await server.listen()
  try {
    await body(path, server)
  } finally {
    await server.close()
    rmSync(directory, { recursive: true })
  }
}

test('requests of one connection are answered in order, those of several beside each other', async () => {
  const respond: Respond = async line => {
    await sleep(Number(line))
    return line
  }
  await withServer(respond, async path => {
    const [slow, quick] = [new Client(path), new Client(path)]
    slow.socket.write('300\n1\n')
    slow.socket.write('0\n')
    quick.socket.write('10\n')
    assert.equal(await quick.answers(1), ['10'])
    assert.equal(slow.lines, [])
    assert.equal(await slow.answers(3), ['300', '1', '0'])
    slow.socket.destroy()
    quick.socket.destroy()
  })
})

test('a request whose caller closed the connection is known to have none', async () => {
  const gone: boolean[] = []
  const respond: Respond = async (_, caller) => {
    gone.push(caller.isGone())
    return ''
  }
  await withServer(respond, async path => {
    const stays = new Client(path)
    stays.socket.write('one\n')
    await stays.answers(1)
    const goes = new Client(path)
    goes.socket.end('two\n') // both arrive at once
    await eventually('the second came', () => gone.length === 2)
    assert.equal(gone, [false, true])
    stays.socket.destroy()
  })
})

test('a request in pieces is one request; a silent connection is closed, one whose request takes long is not', async () => {
  const respond: Respond = async line => {
    await sleep(600)
    return line
  }
  await withServer(
    respond,
    async path => {
      const [silent, busy] = [new Client(path), new Client(path)]
      for (const piece of ['lo', 'ng', '\n']) {
        busy.socket.write(piece)
        await sleep(20)
      }
      assert.equal(await busy.answers(1), ['long'])
      assert.ok(silent.closed)
      await eventually('that one is silent now', () => busy.closed)
    },
    200,
  )
})

test('a server that closes answers what it was asked and drops who asks nothing', async () => {
  const respond: Respond = async line => {
    await sleep(200)
    return line
  }
  await withServer(respond, async (path, server) => {
    const [idle, busy] = [new Client(path), new Client(path)]
    busy.socket.write('x\n')
    await sleep(50)
    await server.close()
    await eventually('both are closed', () => idle.closed && busy.closed)
    assert.equal([idle.lines, busy.lines], [[], ['x']])
  })
})

test('the socket is for root alone, and its path is not cut', () => {
  const directory = mkdtempSync(join(tmpdir(), 'tunlink-test-'))
  try {
    assert.throws(() => listenUnix(join(directory, 'x'.repeat(108)), 1), /longer than 107 bytes/)
    closeSync(listenUnix(join(directory, 's'), 1))
    assert.throws(() => listenUnix(join(directory, 's'), 1), /EADDRINUSE/)
  } finally {
    rmSync(directory, { recursive: true })
  }
})

for (const [name, executable] of EXECUTABLES) {
  test(`${name}: garbage, too much, too many and too old are answered in words or dropped, and the agent goes on`, async () => {
    using lab = new Lab(executable)
    const pid = await startAgent(lab, '--idle-exit', '60')
    const path = socketPath(lab.dataDir)
    const one = new Client(path)
    const errors = async (line: string) => {
      const before = one.lines.length
      one.socket.write(`${line}\n`)
      const answer = JSON.parse((await one.answers(before + 1))[before]!)
      assert.equal([answer.protocol, answer.ok], [2, false], line)
      return `${answer.error.code} ${answer.error.msg}`
    }
    assert.match(await errors('garbage'), /^6 the request is not JSON: "garbage"/)
    for (const line of ['', '\0\xff', '{"op":', '[[[[']) assert.match(await errors(line), /^6 /)
    for (const line of ['null', '7', '[]', '"status"', '{}', '{"op":"status"}', '{"protocol":1,"op":"status"}'])
      assert.match(await errors(line), /^11 the request is of another version/)
    for (const op of ['"no such"', 'null', '{}', '"__proto__"']) assert.match(await errors(`{"protocol":2,"op":${op}}`), /does not know/)
    for (const request of ['{"protocol":2,"op":"apply"}', '{"protocol":2,"op":"remove"}']) await errors(request)

    const endless = new Client(path)
    for (let sent = 0; sent < MAX_LINE + 1_000; sent += 50_000) endless.socket.write('x'.repeat(50_000))
    assert.match((await endless.answers(1))[0]!, /longer than 1048576 bytes/)
    await eventually('and it is dropped', () => endless.closed)

    const many = Array.from({ length: 1_000 }, () => new Client(path))
    await eventually('those beyond the bound are dropped', () => many.filter(({ closed }) => closed).length >= 400, 20)
    assert.is((await status(lab)).pid, pid)
    for (const { socket } of many) socket.destroy()
    one.socket.destroy()
    assert.is((await status(lab)).pid, pid)
  })
}

test.run()
