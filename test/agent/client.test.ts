/**
 * ask(): what it makes of agents that are slow, old, full, or about to go. Both transports: this
 * file runs itself by Bun as well.
 */
import { spawnSync } from 'node:child_process'
import { closeSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { AgentError, agentHangs, agentIsForeign, ask, noAgent } from '../../src/agent/client.ts'
import { type Request, socketPath } from '../../src/agent/protocol.ts'
import type { Environment } from '../../src/cni/environment.ts'
import { CniError } from '../../src/cni/error.ts'
import { listenUnix } from '../../src/linux/unix-socket.ts'
import { EXECUTABLES } from '../support.ts'

const isBun = process.versions.bun !== undefined
const test = suite(isBun ? 'client by Bun' : 'client')

/** Runs `body` with a server at the agent's place. */
async function withAgent(serve: (socket: Socket) => void, body: (dataDir: string) => Promise<void>): Promise<void> {
  const dataDir = mkdtempSync(join(tmpdir(), 'tunlink-test-'))
  const sockets: Socket[] = []
  const server = createServer(socket => {
    sockets.push(socket)
    socket.on('error', () => {})
    serve(socket)
  })
  await new Promise<void>(done => server.listen(socketPath(dataDir), done))
  try {
    await body(dataDir)
  } finally {
    for (const socket of sockets) socket.destroy()
    server.close()
    rmSync(dataDir, { recursive: true, force: true })
  }
}

// biome-ignore lint/suspicious/noExplicitAny: whatever was thrown
const failure = (dataDir: string, deadlineMs?: number): Promise<any> =>
  ask(dataDir, { op: 'list' }, deadlineMs).then(
    () => undefined,
    error => error,
  )

const answering = (text: string) => (socket: Socket) => void socket.on('data', () => socket.write(text))

test('an answer is what its request promises, without the envelope; it may come in pieces', async () => {
  const links = [{ link: 'tlx', netns: 'x'.repeat(200_000) }]
  await withAgent(answering(`${JSON.stringify({ protocol: 2, ok: true, links })}\n`), async dataDir => {
    assert.equal(await ask(dataDir, { op: 'list' }), { links })
  })
})

test('a request carries the version', async () => {
  let received = ''
  const serve = (socket: Socket) =>
    void socket.on('data', chunk => {
      received += chunk
      socket.write('{"protocol":2,"ok":true,"verbs":{}}\n')
    })
  await withAgent(serve, async dataDir => void (await ask(dataDir, { op: 'stats' })))
  assert.is(received, '{"protocol":2,"op":"stats"}\n')
})

test("the agent's error is the caller's: code, message, details", async () => {
  const error = { code: 100, msg: 'no addresses', details: 'none' }
  await withAgent(answering(`${JSON.stringify({ protocol: 2, ok: false, error })}\n`), async dataDir => {
    const thrown = await failure(dataDir)
    assert.instance(thrown, CniError)
    assert.equal([thrown.code, thrown.message, thrown.details], [100, 'no addresses', 'none'])
    assert.not.ok(noAgent(thrown) || agentHangs(thrown) || agentIsForeign(thrown))
  })
})

test('no answer within the deadline is code 11, and says that the agent hangs', async () => {
  for (const serve of [() => {}, answering('{"protocol":2,')]) {
    await withAgent(serve, async dataDir => {
      const thrown = await failure(dataDir, 200)
      assert.instance(thrown, AgentError)
      assert.is(thrown.code, 11)
      assert.is(thrown.message, `the agent at ${dataDir}/agent.sock did not answer within 0.2 s`)
      assert.ok(agentHangs(thrown) && !noAgent(thrown) && !agentIsForeign(thrown))
    })
  }
})

test('an agent with so many connections waiting that it takes no more hangs as well', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'tunlink-test-'))
  try {
    listenUnix(socketPath(dataDir), 0) // nobody accepts
    const thrown = await Promise.all([1, 2, 3].map(() => failure(dataDir, 300)))
    assert.ok(thrown.some(agentHangs))
    for (const error of thrown) assert.ok(agentHangs(error) || (isBun && noAgent(error)), String(error))
  } finally {
    rmSync(dataDir, { recursive: true })
  }
})

test('an answer of another version, or none at all, is refused in words', async () => {
  for (const [text, why] of [
    ['{"ok":true}\n', /of another version: it answered with "protocol" null, not 2/],
    ['{"protocol":3,"ok":true}\n', /"protocol" 3, not 2/],
    ['null\n', /"protocol" null/],
    ['garbage\n', /what is not JSON: "garbage"/],
  ] as const) {
    await withAgent(answering(text), async dataDir => {
      const thrown = await failure(dataDir)
      assert.is(thrown.code, 11)
      assert.match(thrown.message, why)
      assert.ok(agentIsForeign(thrown) && !agentHangs(thrown) && !noAgent(thrown))
    })
  }
})

test('an answer that lacks what its request is for, or is none, is that of no agent', async () => {
  const environment: Environment = {
    command: 'ADD',
    containerID: 'c',
    netns: '/n',
    ifname: 'eth0',
    args: '',
    path: [],
    netnsOverride: false,
  }
  const add: Request = { op: 'add', environment, stdin: '{}', caller: { pid: 1, netnsFd: 3, ino: 1 }, started: 1 }
  const answers: [Request, string][] = [
    [add, '"ok":true'],
    [add, '"ok":true,"result":""'],
    [add, '"ok":true,"result":"[]"'],
    [add, '"ok":true,"result":"{}","warnings":5'],
    [add, '"ok":1,"result":"{}"'],
    [{ op: 'list' }, '"ok":true,"links":[null]'],
    [{ op: 'status' }, '"ok":true'],
    [{ op: 'stats' }, '"ok":true,"verbs":[]'],
    [{ op: 'renew' }, '"ok":false,"error":{"code":7,"msg":"x","details":{}}'],
  ]
  for (const [request, rest] of answers) {
    await withAgent(answering(`{"protocol":2,${rest}}\n`), async dataDir => {
      const thrown = await ask(dataDir, request).catch(error => error)
      assert.ok(agentIsForeign(thrown), `${request.op} ${rest}: ${thrown}`)
      assert.is(thrown.code, 11)
    })
  }
})

test('an answer without an end is read to a limit, not until the deadline', async () => {
  const flood = (socket: Socket) => {
    const send = () => {
      while (!socket.destroyed && socket.write('x'.repeat(1 << 20)));
    }
    socket.on('drain', send).once('data', send)
  }
  await withAgent(flood, async dataDir => {
    const thrown = await failure(dataDir, 60_000)
    assert.ok(agentIsForeign(thrown), String(thrown))
    assert.match(thrown.message, /sent more than 16777216 bytes/)
  })
})

test('a connection that is closed without an answer is tried again, but not for ever', async () => {
  let connections = 0
  const reluctant = (until: number) => (socket: Socket) => {
    if (++connections < until) socket.destroy()
    else socket.on('data', () => socket.write('{"protocol":2,"ok":true,"links":[]}\n'))
  }
  await withAgent(reluctant(3), async dataDir => assert.equal(await ask(dataDir, { op: 'list' }), { links: [] }))
  await withAgent(reluctant(Number.POSITIVE_INFINITY), async dataDir => assert.ok(noAgent(await failure(dataDir))))
})

test('where nobody listens there is no agent', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'tunlink-test-'))
  try {
    assert.ok(noAgent(await failure(dataDir)))
    closeSync(listenUnix(socketPath(dataDir), 1))
    assert.ok(noAgent(await failure(dataDir)), 'a socket that is left of one')
  } finally {
    rmSync(dataDir, { recursive: true })
  }
})

if (!isBun)
  test('all of it by Bun', () => {
    const run = spawnSync(EXECUTABLES[0]![1], [import.meta.filename], { encoding: 'utf8', env: { ...process.env, BUN_BE_BUN: '1' } })
    assert.is(run.status, 0, run.stdout + run.stderr)
    assert.match(run.stdout, /Passed: +10/)
  })

test.run()
