/** Bad requests to an agent, and bad answers of what pretends to be one. */
import { mkdtempSync, rmSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { ask, noAgent } from '../../src/agent/client.ts'
import { socketPath } from '../../src/agent/protocol.ts'
import { verifyRequest } from '../../src/agent/request-format.ts'
import { CniError } from '../../src/cni/error.ts'
import { startAgent, status } from '../agent/agents.ts'
import { EXECUTABLES, eventually, Lab } from '../support.ts'
import { cases, casesAsync } from './cases.ts'
import { damaged, runs, text, value } from './garbage.ts'
import { stateOf } from './state.ts'

const test = suite('bad input of agents')

const ATTACHMENT = { network: 'net', containerID: 'c1', ifname: 'eth0' }
// no such process: above the kernel's PID_MAX_LIMIT
const CALLER = { pid: 2 ** 22 + 1, netnsFd: 3, ino: 4026531840 }
const STDIN = JSON.stringify({ cniVersion: '1.1.0', name: 'net', type: 'tunlink', ipam: { type: 'tunlink', subnet: '10.66.0.0/24' } })
const ENVIRONMENT = { command: 'ADD', containerID: 'c1', netns: '/n', ifname: 'eth0', args: '', path: ['/x'], netnsOverride: false }

const REQUESTS: Record<string, unknown>[] = [
  { protocol: 2, op: 'add', environment: ENVIRONMENT, stdin: STDIN, caller: CALLER, started: 1 },
  { protocol: 2, op: 'del', attachment: ATTACHMENT, lease: true, caller: CALLER, started: 1 },
  { protocol: 2, op: 'open', attachment: ATTACHMENT },
  { protocol: 2, op: 'list' },
]

const WORDS_OF_ENGINES = /Cannot (read|destructure)|is not (a function|an object|iterable)|undefined/

/** An answer that a plugin can use: a line of JSON, with an error in words where there is one. */
function verifyAnswer(line: string): void {
  const { protocol, ok, error } = JSON.parse(line)
  assert.is(protocol, 2)
  if (ok === true) return
  assert.ok(Number.isSafeInteger(error.code) && error.code > 0)
  assert.ok(error.msg !== '' && error.msg.length < 3_000)
  assert.not.match(error.msg, WORDS_OF_ENGINES)
}

const requests = text(fc.oneof({ weight: 9, arbitrary: damaged(...REQUESTS) }, { weight: 1, arbitrary: value }))

test('requests: only what is whole is carried out', () => {
  const parsed = fc
    .oneof({ weight: 9, arbitrary: damaged(...REQUESTS) }, { weight: 1, arbitrary: fc.object() })
    .filter(request => typeof request === 'object' && request !== null)
  cases('requests', runs(500, 10_000), parsed, given => {
    const request = given as Record<string, { network: string; containerID: string }>
    try {
      verifyRequest(request)
    } catch (error) {
      assert.instance(error, CniError)
      assert.not.match((error as Error).message, WORDS_OF_ENGINES)
      return
    }
    if (!['add', 'del', 'open'].includes(request.op as unknown as string)) return
    const { network = 'net', containerID } = request.op === ('add' as unknown) ? request.environment! : request.attachment!
    for (const name of [network, containerID]) assert.match(name, /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/)
  })
})

/** Lines of one connection to the agent. */
class Connection {
  readonly #socket: Socket
  readonly #waiting: ((line: string) => void)[] = []
  #text = ''

  constructor(path: string) {
    this.#socket = connect(path)
    this.#socket.on('error', () => {}) // the agent drops who has said nothing whole for longest
    this.#socket.setEncoding('utf8').on('data', (chunk: string) => {
      this.#text += chunk
      for (let end = this.#text.indexOf('\n'); end >= 0; end = this.#text.indexOf('\n')) {
        this.#waiting.shift()?.(this.#text.slice(0, end))
        this.#text = this.#text.slice(end + 1)
      }
    })
  }

  async ask(line: string): Promise<string> {
    this.#socket.write(`${line}\n`)
    return new Promise(resolve => this.#waiting.push(resolve))
  }

  write(text: string): void {
    this.#socket.write(text)
  }

  close(): void {
    this.#socket.destroy()
  }
}

test('a running agent answers bad requests, and neither the kernel nor the disk knows of them', async () => {
  using lab = new Lab(EXECUTABLES[0]![1])
  const pid = await startAgent(lab, '--idle-exit', '300')
  const before = stateOf(lab)
  const connection = new Connection(socketPath(lab.dataDir))
  const lines = requests.filter(line => !line.includes('\n') && line.length < 1 << 19)
  await casesAsync('requests to a running agent', runs(150, 3_000), lines, async line => verifyAnswer(await connection.ask(line)))
  connection.close()
  assert.equal(stateOf(lab), before)
  assert.is((await status(lab)).pid, pid)
})

test('1,000 connections with half a request each, and slow ones, do not keep an ADD from its link', async () => {
  using lab = new Lab(EXECUTABLES[0]![1])
  const pod = lab.netns()
  const connections: Connection[] = []
  try {
    const pid = await startAgent(lab, '--idle-exit', '300')
    for (let count = 0; count < 1_000; count++) {
      const connection = new Connection(socketPath(lab.dataDir))
      connection.write('{"protocol":2,"op":"ad')
      connections.push(connection)
    }
    const slow = new Connection(socketPath(lab.dataDir))
    connections.push(slow)
    const whole = '{"protocol":2,"op":"list"}'
    const answered = (async () => {
      for (const letter of whole.slice(0, -1)) {
        slow.write(letter)
        await sleep(5)
      }
      return slow.ask(whole.slice(-1))
    })()
    lab.must('ADD', pod)
    lab.must('CHECK', pod, { prevResult: { cniVersion: '1.1.0', interfaces: [{ name: 'eth0', sandbox: `/run/netns/${pod}` }], ips: [] } })
    lab.must('DEL', pod)
    verifyAnswer(await answered)
    assert.is((await status(lab)).pid, pid)
  } finally {
    for (const connection of connections) connection.close()
  }
})

/** What a server that is no agent does with a connection. */
type Behaviour = (socket: Socket) => void

const behaviours: fc.Arbitrary<Behaviour> = fc.oneof(
  text(
    fc.oneof(damaged({ protocol: 2, ok: true, links: [] }, { protocol: 2, ok: false, error: { code: 7, msg: 'x', details: 'y' } }), value),
  ).map(
    (line): Behaviour =>
      socket =>
        socket.end(`${line}\n`),
  ),
  fc.string().map(
    (part): Behaviour =>
      socket =>
        socket.end(part.replaceAll('\n', '')),
  ),
  fc.constantFrom<Behaviour>(
    socket => socket.destroy(),
    socket => socket.end('x'.repeat(1 << 22)),
    socket => void socket.write('{"protocol":2,'),
  ),
)

test('answers: the plugin has one, or an error that says what to do', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'tunlink-test-'))
  let behave: Behaviour = socket => socket.destroy()
  const open = new Set<Socket>()
  const server = createServer(socket => {
    open.add(socket)
    socket.on('error', () => {}).once('data', () => behave(socket))
  }).listen(join(directory, 'agent.sock'))
  try {
    await eventually('it listens', () => server.listening)
    await casesAsync('answers of what pretends to be an agent', runs(60, 1_500), behaviours, async behaviour => {
      behave = behaviour
      try {
        assert.type(await ask(directory, { op: 'list' }, 300), 'object')
      } catch (error) {
        assert.ok(noAgent(error) || error instanceof CniError, String((error as Error).stack))
        assert.not.match((error as Error).message, WORDS_OF_ENGINES)
      }
    })
  } finally {
    for (const socket of open) socket.destroy()
    server.close()
    rmSync(directory, { recursive: true })
  }
})

test.run()
