/** One agent at a time, and always one that answers: whatever state the one before is in. */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, existsSync, mkdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { endAgent } from '../../src/agent/end.ts'
import { lockPath, socketPath } from '../../src/agent/protocol.ts'
import { answer, unknownRequest } from '../../src/agent/requests.ts'
import { LineServer } from '../../src/agent/server.ts'
import { openDataDir } from '../../src/link/data-dir.ts'
import { openLock, tryLock } from '../../src/linux/lock.ts'
import { inNetns } from '../../src/linux/netns.ts'
import { attachTun } from '../../src/linux/tun.ts'
import { listenUnix } from '../../src/linux/unix-socket.ts'
import { EXECUTABLES, environment, eventually, Lab, pings } from '../support.ts'
import { alive, holder, runAgent, startAgent, status } from './agents.ts'

const test = suite('takeover')

/** A test with a lab of its own. */
const testWithLab = (name: string, body: (lab: Lab) => Promise<void>, executable?: string) =>
  test(name, async () => {
    using lab = new Lab(executable)
    await body(lab)
  })

for (const [name, executable] of EXECUTABLES) {
  testWithLab(
    `${name}: an agent that hangs is killed by the next one, which has its links`,
    async lab => {
      const pod = lab.netns()
      lab.must('ADD', pod)
      const hung = holder(lab)!
      process.kill(hung, 'SIGSTOP')
      const pid = await startAgent(lab)
      assert.is.not(pid, hung)
      await eventually('the one that hung has ended', () => !alive(hung))
      assert.is(readFileSync(lockPath(lab.dataDir), 'utf8'), `${pid}\n`)
      assert.is((await status(lab)).links, 1)
      assert.ok(pings(pod, '10.66.0.1'))
    },
    executable,
  )

  testWithLab(
    `${name}: an agent whose directory was removed leaves the socket to the one that has its place`,
    async lab => {
      lab.must('ADD', lab.netns())
      const old = holder(lab)!
      rmSync(lab.dataDir, { recursive: true })
      mkdirSync(lab.dataDir, 0o700)
      const pid = await startAgent(lab)
      process.kill(old, 'SIGTERM')
      await eventually('the old one has ended', () => !alive(old))
      assert.is((await status(lab)).pid, pid)
    },
    executable,
  )

  testWithLab(
    `${name}: a shortage of files while a device is tried again: the agent goes on, and takes it up later`,
    async lab => {
      const [one, two] = [lab.netns(), lab.netns()]
      const conf = { wire: 'thread', agent: { idleSeconds: 60 } }
      lab.must('ADD', one, { agent: { spawn: false } })
      const descriptor = inNetns(`/run/netns/${one}`, () => attachTun({ name: 'eth0', vnetHdr: true }))
      lab.must('ADD', two, conf)
      const pid = holder(lab)!
      const limit = (files: string) => execFileSync('prlimit', ['--pid', String(pid), `--nofile=${files}`])
      limit('3:4096')
      const log = () => readFileSync(join(lab.dataDir, 'agent.log'), 'utf8')
      await eventually('the records cannot be read', () => log().includes('"links not taken up"'))
      assert.ok(alive(pid))
      assert.ok(pings(two, '10.66.0.1'))
      closeSync(descriptor)
      limit('4096:4096')
      for (const until = Date.now() + 30_000; (await status(lab)).held < 2; await new Promise(done => setTimeout(done, 100)))
        assert.ok(Date.now() < until, 'it is taken up')
      assert.is(holder(lab), pid)
    },
    executable,
  )

  testWithLab(
    `${name}: an agent that is killed and started at once has all its links again`,
    async lab => {
      const pods = Array.from({ length: 4 }, () => lab.netns())
      for (const pod of pods) lab.must('ADD', pod)
      for (let round = 0; round < 3; round++) {
        process.kill(holder(lab)!, 'SIGKILL')
        await startAgent(lab)
        assert.is((await status(lab)).links, 4)
        for (const pod of pods) assert.ok(pings(pod, '10.66.0.1'))
      }
    },
    executable,
  )
}

testWithLab('verbs do not wait for ever for an agent that hangs: they end it', async lab => {
  const [one, two] = [lab.netns(), lab.netns()]
  lab.must('ADD', one)
  const hung = holder(lab)!
  process.kill(hung, 'SIGSTOP')
  lab.must('ADD', two)
  assert.not.ok(alive(hung))
  assert.ok(pings(one, '10.66.0.1') && pings(two, '10.66.0.1'))
  const second = holder(lab)!
  process.kill(second, 'SIGSTOP')
  lab.must('DEL', two)
  assert.not.ok(alive(second))
  assert.equal(lab.links(two), [])
})

testWithLab('an ADD whose caller is gone is not carried out', async lab => {
  const [one, two] = [lab.netns(), lab.netns()]
  lab.must('ADD', one)
  const agent = holder(lab)!
  process.kill(agent, 'SIGSTOP')
  const child = spawn('ip', ['netns', 'exec', lab.node, lab.executable], {
    env: { PATH: process.env.PATH, ...environment('ADD', two) },
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  child.stdin.end(JSON.stringify(lab.conf))
  const ended = new Promise(done => child.on('close', done))
  await new Promise(done => setTimeout(done, 1_000)) // it has asked
  child.kill('SIGKILL')
  await ended
  process.kill(agent, 'SIGCONT')
  assert.is((await status(lab)).links, 1)
  lab.must('DEL', one) // is answered after whatever came before it
  assert.equal(lab.links(two), [])
})

testWithLab('of many agents started at once one serves, and the others say so', async lab => {
  const agents = Array.from({ length: 6 }, () => runAgent(lab))
  await eventually('one serves', () => existsSync(socketPath(lab.dataDir)))
  const { pid } = await status(lab)
  const others = await Promise.all(agents.filter(({ child }) => child.pid !== pid).map(({ ended }) => ended))
  assert.is(others.length, 5)
  for (const { status, stderr } of others) {
    assert.is(status, 0)
    assert.match(stderr, /Another agent serves/)
  }
  assert.is((await status(lab)).pid, pid)
})

testWithLab('a process that does not have the lock is never killed, whatever the lock file says', async lab => {
  const hung = await startAgent(lab)
  const bystander = spawn('sleep', ['60'])
  try {
    writeFileSync(lockPath(lab.dataDir), `${bystander.pid}\n`)
    process.kill(hung, 'SIGSTOP')
    await startAgent(lab)
    assert.not.ok(alive(hung))
    assert.ok(alive(bystander.pid!))
  } finally {
    bystander.kill()
  }
})

testWithLab('an agent that is only slow is not ended: ADD and DEL say so, and a second agent leaves it alone', async lab => {
  const slow = spawn(process.execPath, [join(import.meta.dirname, 'slow-agent.ts'), lab.dataDir], { stdio: 'inherit' })
  try {
    await eventually('it serves', () => existsSync(socketPath(lab.dataDir)))
    const pod = lab.netns()
    for (const verb of ['ADD', 'DEL']) {
      const { status, json } = lab.cni(verb, pod)
      assert.is(status, 1)
      assert.is(json.code, 11)
      assert.match(json.msg, /did not answer within 10 s/)
      assert.match(json.details, /alive, but slow/)
    }
    assert.match((await runAgent(lab).ended).stderr, /Another agent serves/)
    assert.ok(alive(slow.pid!))
    assert.equal(lab.links(pod), [])
  } finally {
    slow.kill()
  }
})

testWithLab('an agent of 0.1.0, which answers anything with ok, is ended and replaced', async lab => {
  const old = spawn(process.execPath, [join(import.meta.dirname, 'old-agent.ts'), lab.dataDir], { stdio: 'inherit' })
  await eventually('it serves', () => existsSync(socketPath(lab.dataDir)))
  const pod = lab.netns()
  lab.must('ADD', pod)
  assert.ok(pings(pod, '10.66.0.1'))
  await eventually('it has ended', () => !alive(old.pid!))
})

for (const spawn of [true, false])
  testWithLab(`an ADD goes on when its agent is killed with the link made; another agent: ${spawn}`, async lab => {
    const pod = lab.netns()
    const conf = { agent: { spawn } }
    const dying = createServer(socket => {
      socket.once('data', request => {
        dying.close()
        lab.must('ADD', pod, conf) // what it does, as its socket has gone
        const record = join(lab.dataDir, `links/net/${pod}:eth0.json`)
        const { started } = JSON.parse(String(request))
        writeFileSync(record, JSON.stringify({ ...JSON.parse(readFileSync(record, 'utf8')), started }))
        socket.destroy()
      })
    }).listen(socketPath(lab.dataDir))
    await once(dying, 'listening')
    await lab.mustBeside('ADD', pod, conf)
    assert.ok(pings(pod, '10.66.0.1'))
    assert.is(lab.cni('ADD', pod, conf).json.code, 4, 'a link of an ADD before is not touched')
    lab.must('DEL', pod, conf)
    assert.equal(lab.links(pod), [])
  })

testWithLab('one idle connection does not keep an agent that ends', async lab => {
  const pid = await startAgent(lab)
  const idle = connect(socketPath(lab.dataDir)).on('error', () => {}) // a reset ends it as well
  await new Promise(done => idle.on('connect', done))
  const closed = new Promise(done => idle.on('close', done))
  process.kill(pid, 'SIGTERM')
  await eventually('it has ended', () => !alive(pid))
  await closed
  assert.not.ok(existsSync(socketPath(lab.dataDir)), 'its socket has gone with it')
})

testWithLab('endAgent() ends one that serves, one that hangs, and says when there is none', async lab => {
  assert.is(await endAgent(lab.dataDir), false)
  for (const hangs of [false, true]) {
    const pid = await startAgent(lab)
    if (hangs) process.kill(pid, 'SIGSTOP')
    assert.is(await endAgent(lab.dataDir), true)
    await eventually('it has ended', () => !alive(pid))
    assert.is(holder(lab), undefined)
  }
  assert.is(await endAgent(lab.dataDir), false)
})

/** endAgent() as a container on the node runs it: without the agent's process in sight. */
function endFromContainer(lab: Lab): Promise<string> {
  const script = `const { endAgent } = await import('${join(import.meta.dirname, '../../src/agent/end.ts')}')
    try { console.log(await endAgent('${lab.dataDir}')) } catch (error) { console.log(error.message) }`
  const child = spawn('unshare', ['--pid', '--fork', '--mount-proc', process.execPath, '--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let text = ''
  child.stdout!.on('data', chunk => (text += chunk))
  return new Promise(done => child.on('close', () => done(text.trim())))
}

testWithLab('endAgent() asks an agent whose process cannot be seen, and its links stay', async lab => {
  const pod = lab.netns()
  lab.must('ADD', pod, { agent: { idleSeconds: 60 } })
  const pid = holder(lab)!
  assert.is(await endFromContainer(lab), 'true')
  await eventually('it has ended', () => !alive(pid))
  assert.match(readFileSync(join(lab.dataDir, 'agent.log'), 'utf8'), /"agent ends","reason":"asked to"/)
  assert.ok(pings(pod, '10.66.0.1'))
})

testWithLab('endAgent() tells what an agent that cannot be seen says, when that does not know the request', async lab => {
  openDataDir(lab.dataDir)
  const lock = openLock(lockPath(lab.dataDir))
  assert.ok(tryLock(lock))
  const old = new LineServer({
    listening: listenUnix(socketPath(lab.dataDir), 1),
    respond: line => answer(line, async request => Promise.reject(unknownRequest(request))),
    tooLong: '',
  })
  await old.listen()
  try {
    const said = await endFromContainer(lab)
    assert.match(
      said,
      /not to be seen from this PID namespace, and the agent .* does not know the request "op": "end"; end it on the node$/,
    )
  } finally {
    await old.close()
    closeSync(lock)
  }
})

/** Where cgroups of version 2 are mounted, alone or beside version 1. */
const cgroups = ['/sys/fs/cgroup', '/sys/fs/cgroup/unified'].find(path => existsSync(join(path, 'cgroup.procs')))

testWithLab('an agent does not end with the cgroup of the container that came first', async lab => {
  if (cgroups === undefined) throw new Error('no cgroup2 file system is mounted')
  const group = join(cgroups, `tunlink-test-${process.pid}`)
  mkdirSync(group)
  try {
    const pod = lab.netns()
    const call = `echo $$ >${group}/cgroup.procs && exec ip netns exec ${lab.node} ${lab.executable}`
    const child = spawn('sh', ['-c', call], {
      stdio: ['pipe', 'ignore', 'inherit'],
      env: { PATH: process.env.PATH, ...environment('ADD', pod) },
    })
    child.stdin.end(JSON.stringify({ ...lab.conf, agent: { idleSeconds: 60 } }))
    assert.is(await new Promise(done => child.on('close', done)), 0)
    const pid = holder(lab)!
    assert.match(readFileSync(`/proc/${pid}/cgroup`, 'utf8'), /^0::\/$/m)
    writeFileSync(join(group, 'cgroup.kill'), '1')
    await new Promise(done => setTimeout(done, 500))
    assert.is((await status(lab)).pid, pid)
    assert.ok(pings(pod, '10.66.0.1'))
  } finally {
    rmdirSync(group)
  }
})

testWithLab(
  'an agent that the plugin started has a session, a log and a directory of its own, and nothing of what the plugin was given',
  async lab => {
    lab.must('ADD', lab.netns())
    const pid = holder(lab)!
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    assert.is(Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[3]), pid, 'it leads its session')
    assert.match(readFileSync(`/proc/${pid}/status`, 'utf8'), /^Umask:\s+0077$/m)
    assert.not.match(readFileSync(`/proc/${pid}/environ`, 'utf8'), /CNI_/)
  },
)

test.run()
