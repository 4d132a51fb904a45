/** The log of an agent: nothing that happens to it happens to the agent. */
import { spawn } from 'node:child_process'
import { closeSync, mkdirSync, openSync, readFileSync, statSync, writeFileSync, writeSync } from 'node:fs'
import { connect } from 'node:net'
import { dirname, join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { ask } from '../../src/agent/client.ts'
import { MAX_BYTES } from '../../src/agent/log.ts'
import { logPath, socketPath } from '../../src/agent/protocol.ts'
import { startAgent as startByPlugin } from '../../src/agent/spawn.ts'
import { EXECUTABLES, eventually, Lab } from '../support.ts'
import { alive, status } from './agents.ts'

const test = suite('log')
const env = { PATH: `${dirname(process.execPath)}:${process.env.PATH}` }

/**
 * Makes the agent say something: it logs each request that fails. Resolves when all have been
 * answered.
 */
async function provoke(path: string, times: number): Promise<void> {
  const socket = connect(path)
  let answers = 0
  socket.setEncoding('utf8').on('data', (text: string) => {
    answers += text.split('\n').length - 1
  })
  socket.write('garbage\n'.repeat(times))
  await eventually('all are answered', () => answers === times)
  socket.destroy()
}

for (const [name, executable] of EXECUTABLES) {
  test(`${name}: a full disk under log, lock and socket ends nothing`, async () => {
    using lab = new Lab(executable)
    const dataDir = join(lab.dataDir, 'full')
    mkdirSync(dataDir)
    const command = `mount -t tmpfs -o size=64k,mode=700 none ${dataDir} && exec ${executable} agent --data-dir ${dataDir} >>${dataDir}/agent.log 2>&1`
    const child = spawn('ip', ['netns', 'exec', lab.node, 'unshare', '-m', 'sh', '-c', command], { stdio: 'ignore', env })
    try {
      const seen = `/proc/${child.pid}/root${dataDir}`
      const answers = () => ask(seen, { op: 'status' }, 5_000).then(({ pid }) => pid)
      await eventually('it serves', () => statSync(socketPath(seen), { throwIfNoEntry: false }) !== undefined)
      assert.is(await answers(), child.pid)
      const filler = openSync(join(seen, 'filler'), 'w')
      assert.throws(() => {
        for (;;) writeSync(filler, Buffer.alloc(512))
      }, /ENOSPC/)
      closeSync(filler)
      const before = statSync(logPath(seen)).size
      await provoke(socketPath(seen), 100)
      assert.is(statSync(logPath(seen)).size - before < 4096, true, 'no more than fits in the page was written')
      assert.is(await answers(), child.pid)
      process.kill(child.pid!, 'SIGHUP') // a renewal writes as well
      await new Promise(done => setTimeout(done, 1_000))
      assert.is(await answers(), child.pid)
    } finally {
      child.kill('SIGKILL')
    }
  })

  test(`${name}: whoever read its log may go`, async () => {
    using lab = new Lab(executable)
    const child = spawn('ip', ['netns', 'exec', lab.node, executable, 'agent', '--data-dir', lab.dataDir], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env,
    })
    await new Promise(done => child.stdout.once('data', done))
    child.stdout.destroy()
    child.stderr.destroy()
    await provoke(socketPath(lab.dataDir), 10)
    assert.is((await status(lab)).pid, child.pid)
  })

  test(`${name}: its log is cut to the last quarter of a MiB, at a line`, async () => {
    using lab = new Lab(executable)
    const line = `${JSON.stringify({ message: 'x'.repeat(100) })}\n`
    writeFileSync(logPath(lab.dataDir), line.repeat(Math.ceil(MAX_BYTES / line.length) + 1))
    const command: [string, ...string[]] = name === 'tunlink' ? [executable] : [process.execPath, executable]
    await startByPlugin(lab.dataDir, 60, { command })
    await eventually('it serves', () => statSync(socketPath(lab.dataDir), { throwIfNoEntry: false }) !== undefined)
    const { pid } = await status(lab)
    const text = readFileSync(logPath(lab.dataDir), 'utf8')
    assert.ok(text.length < MAX_BYTES / 3 && text.length > MAX_BYTES / 5, `${text.length} bytes`)
    const lines = text.trimEnd().split('\n')
    assert.is(`${lines[0]}\n`, line)
    assert.is(JSON.parse(lines.at(-1)!).message, 'agent serves')
    process.kill(pid, 'SIGTERM')
    await eventually('it ends', () => !alive(pid))
  })
}

test.run()
