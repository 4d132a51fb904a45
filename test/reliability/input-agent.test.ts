/** Bad requests to an agent, and bad answers of what pretends to be one. */
import { spawn } from 'node:child_process'
import { connect, createServer, type Socket } from 'node:net'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { ask, noAgent } from '../../src/agent/client.ts'
import { socketPath } from '../../src/agent/protocol.ts'
import { verifyRequest } from '../../src/agent/request-format.ts'
import { CniError } from '../../src/cni/error.ts'
import { startAgent, status } from '../agent/agents.ts'
import { inDirectory } from '../directory.ts'
import { EXECUTABLES, environment, eventually, Lab } from '../support.ts'
import { AnswerTimes, timed } from './answer-times.ts'
import { cases, casesAsync } from './cases.ts'
import { damaged, isLong, runs, text, value } from './garbage.ts'
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
  const times = new AnswerTimes('requests to a running agent')
  const asked = async (line: string): Promise<number> => {
    const [answer, ms] = await timed(() => connection.ask(line))
    verifyAnswer(answer)
    return ms
  }
  await casesAsync('requests to a running agent', runs(150, 3_000), lines, line =>
    times.compare(
      line.slice(0, 500),
      async () => {
        let ms = 0
        for (const request of REQUESTS) ms += await asked(JSON.stringify(request))
        return ms
      },
      () => asked(line),
    ),
  )
  times.verify()
  connection.close()
  assert.equal(stateOf(lab), before)
  assert.is((await status(lab)).pid, pid)
})

/** The ms of one verb, which must succeed. */
async function verb(lab: Lab, pod: string, command: 'ADD' | 'CHECK' | 'DEL'): Promise<number> {
  const prevResult = { cniVersion: '1.1.0', interfaces: [{ name: 'eth0', sandbox: `/run/netns/${pod}` }], ips: [] }
  return (await timed(() => lab.must(command, pod, command === 'CHECK' ? { prevResult } : {})))[1]
}

test('1,000 connections with half a request each, and slow ones, do not keep a verb from its link', async () => {
  using lab = new Lab(EXECUTABLES[0]![1])
  using quiet = new Lab(EXECUTABLES[0]![1])
  const [pod, quietPod] = [lab.netns(), quiet.netns()]
  const times = new AnswerTimes('ADD, CHECK and DEL beside 1,000 connections')
  const connections: Connection[] = []
  try {
    const pid = await startAgent(lab, '--idle-exit', '300')
    await startAgent(quiet, '--idle-exit', '300')
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
    for (let round = 0; round < runs(5, 10); round++)
      for (const command of ['ADD', 'CHECK', 'DEL'] as const) {
        await sleep(50) // the slow one goes on meanwhile
        await times.compare(
          `${command} beside 1,000 connections`,
          () => verb(quiet, quietPod, command),
          () => verb(lab, pod, command),
        )
      }
    verifyAnswer(await answered)
    assert.is((await status(lab)).pid, pid)
    times.verify()
  } finally {
    for (const connection of connections) connection.close()
  }
})

/** What a server that is no agent does with a connection, and the line that it answers, if any. */
interface Behaviour {
  what: string
  line?: string
  act(socket: Socket): void
}

const ERROR = { protocol: 2, ok: false, error: { code: 7, msg: 'x', details: 'y' } }
const ADDED = { protocol: 2, ok: true, result: '{"cniVersion":"1.1.0","interfaces":[],"ips":[]}', warnings: ['w'] }

/** Answers in one piece, whatever it is. */
const says = (line: string): Behaviour => ({ what: line, line, act: socket => socket.end(`${line}\n`) })

/** Sends without end, as fast as it is read. */
function flood(socket: Socket): void {
  const chunk = 'x'.repeat(1 << 20)
  const send = () => {
    while (!socket.destroyed && socket.write(chunk));
  }
  socket.on('drain', send)
  send()
}

async function letterByLetter(socket: Socket, line: string): Promise<void> {
  for (const letter of `${line}\n`) {
    socket.write(letter)
    await sleep(1)
  }
}

const SLOW = JSON.stringify(ERROR)

const behaviours: fc.Arbitrary<Behaviour> = fc.oneof(
  { weight: 4, arbitrary: text(fc.oneof(damaged({ protocol: 2, ok: true, links: [] }, ADDED, ERROR), value)).map(says) },
  fc.string().map((part): Behaviour => ({ what: `${part}, and the end`, act: socket => socket.end(part.replaceAll('\n', '')) })),
  fc.constantFrom<Behaviour>(
    { what: 'closes', act: socket => socket.destroy() },
    { what: 'a long line', act: socket => socket.end('x'.repeat(1 << 22)) },
    { what: 'a line without end', act: flood },
    { what: 'a slow line', line: SLOW, act: socket => void letterByLetter(socket, SLOW) },
  ),
)

/** A request is half answered, and the connection stays open. */
const HALF: Behaviour = { what: 'half an answer', act: socket => void socket.write('{"protocol":2,') }

/** What has the agent's socket in a directory, and is no agent. */
class Pretender implements AsyncDisposable {
  behave: Behaviour = HALF
  readonly #open = new Set<Socket>()
  readonly #server

  constructor(dataDir: string) {
    this.#server = createServer(socket => {
      this.#open.add(socket)
      socket.on('error', () => {}).once('data', () => this.behave.act(socket))
    }).listen(socketPath(dataDir))
  }

  async listens(): Promise<void> {
    await eventually('it listens', () => this.#server.listening)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#open) socket.destroy()
    await new Promise(done => this.#server.close(done))
  }
}

test('answers: the client has one, or an error that says what to do', async () => {
  await inDirectory(async directory => {
    await using pretender = new Pretender(directory)
    await pretender.listens()
    const all = fc.oneof({ weight: 9, arbitrary: behaviours }, fc.constant(HALF))
    await casesAsync('answers of what pretends to be an agent', runs(60, 1_500), all, async behaviour => {
      pretender.behave = behaviour
      try {
        assert.type(await ask(directory, { op: 'list' }, 300), 'object')
      } catch (error) {
        assert.ok(noAgent(error) || error instanceof CniError, String((error as Error).stack))
        assert.not.match((error as Error).message, WORDS_OF_ENGINES)
      }
    })
  })
})

interface Ran {
  status: number | null
  stdout: string
  ms: number
}

/** One verb of a process beside this one, which plays its agent. */
async function ranBeside(lab: Lab, pod: string, command: string): Promise<Ran> {
  const child = spawn('ip', ['netns', 'exec', lab.node, lab.executable], {
    env: { PATH: `${dirname(process.execPath)}:${process.env.PATH}`, ...environment(command, pod) },
    stdio: ['pipe', 'pipe', 'ignore'],
    timeout: 120_000,
  })
  let stdout = ''
  child.stdout.on('data', chunk => (stdout += chunk))
  child.stdin.end(JSON.stringify({ ...lab.conf, agent: { spawn: false } }))
  const [status, ms] = await timed(() => new Promise<number | null>(done => child.on('close', done)))
  return { status, stdout, ms }
}

/** The code of the error that the pretender answered, where it is one. */
function codeIn(line: string | undefined): unknown {
  try {
    const { protocol, ok, error } = JSON.parse(line ?? '')
    return protocol === 2 && !ok ? error.code : undefined
  } catch {
    return undefined
  }
}

/** A CNI answer: a result, or an error with code 11, or with the one that the pretender said. */
function verifyRan({ status, stdout }: Ran, command: string, { what, line }: Behaviour): void {
  const context = `${command}, ${what.slice(0, 500)}: ${status} ${stdout}`
  if (status === 0) {
    if (command !== 'ADD') assert.is(stdout, '', context)
    else assert.type(JSON.parse(stdout).cniVersion, 'string', context)
    return
  }
  assert.is(status, 1, context)
  const { cniVersion, code, msg } = JSON.parse(stdout)
  assert.is(cniVersion, '1.1.0', context)
  assert.ok(code === 11 || code === codeIn(line), context)
  assert.ok(typeof msg === 'string' && !WORDS_OF_ENGINES.test(msg), context)
}

for (const [index, [name, executable]] of EXECUTABLES.entries())
  test(`${name}: a verb has an answer, or does the work itself, whatever pretends to be the agent`, async () => {
    using lab = new Lab(executable)
    using quiet = new Lab(executable)
    const [pod, quietPod] = [lab.netns(), quiet.netns()]
    await using pretender = new Pretender(lab.dataDir)
    await pretender.listens()
    const times = new AnswerTimes(`${name}, ADD and DEL before what pretends to be an agent`)
    const commands = fc.constantFrom('ADD', 'DEL')
    await casesAsync(`${name} before a false agent`, index === 0 ? runs(20, 600) : runs(6, 60), fc.tuple(commands, behaviours), given => {
      const [command, behaviour] = given
      return times.compare(
        `${command}, ${behaviour.what.slice(0, 500)}`,
        async () => {
          const { ms } = await ranBeside(quiet, quietPod, command)
          await ranBeside(quiet, quietPod, 'DEL')
          return ms
        },
        async () => {
          pretender.behave = behaviour
          const ran = await ranBeside(lab, pod, command)
          verifyRan(ran, command, behaviour)
          if (command === 'ADD' && ran.status !== 0) assert.equal(lab.links(pod), [], behaviour.what)
          pretender.behave = says('foreign')
          assert.is((await ranBeside(lab, pod, 'DEL')).status, 0)
          assert.equal([lab.links(lab.node), lab.links(pod), lab.files()], [[], [], []], behaviour.what)
          return ran.ms
        },
      )
    })
    times.verify()
  })

/** It waits for half a minute: in the long form only. The deadline itself is in client.test.ts. */
if (isLong)
  test('a peer that never ends its answer is waited for as an agent that hangs is; then the plugin does the work', async () => {
    using lab = new Lab(EXECUTABLES[0]![1])
    const pods = [lab.netns(), lab.netns()]
    await using pretender = new Pretender(lab.dataDir)
    await pretender.listens()
    const [added, removed] = await Promise.all([ranBeside(lab, pods[0]!, 'ADD'), ranBeside(lab, pods[1]!, 'DEL')])
    verifyRan(added, 'ADD', HALF)
    verifyRan(removed, 'DEL', HALF)
    assert.equal([added.status, removed.status], [0, 0])
    assert.equal(lab.podLinks(pods[0]!), ['eth0'])
    console.log(`\nfigure: input, half an answer, and no more: ADD took ${Math.ceil(added.ms)} ms, DEL ${Math.ceil(removed.ms)} ms`)
  })

test.run()
