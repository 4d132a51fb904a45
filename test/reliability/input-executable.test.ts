/**
 * The built executables with bad input of every kind at once: each run ends in time with an answer
 * that a runtime understands, and an error leaves kernel and disk as they were.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, truncateSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import fc from 'fast-check'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { EXECUTABLES, Lab } from '../support.ts'
import { cases } from './cases.ts'
import { damaged, isLong, nestedJson, runs, text } from './garbage.ts'
import { CONFIGURATIONS } from './good.ts'
import { stateOf } from './state.ts'

const test = suite('bad input of the executable')

/** Of one run: a runtime would have given up, and so would a machine that is slow. */
const DEADLINE_MS = 60_000

interface Run {
  env: Record<string, string>
  stdin: string
}

interface Ran {
  status: number | null
  stdout: string
}

/** One run on the lab's node; throws when it does not end. */
function run(lab: Lab, { env, stdin }: Run): Ran {
  const { status, stdout, signal, stderr } = spawnSync('ip', ['netns', 'exec', lab.node, lab.executable], {
    input: stdin,
    encoding: 'utf8',
    timeout: DEADLINE_MS,
    killSignal: 'SIGKILL',
    env: { PATH: `${dirname(process.execPath)}:${process.env.PATH}`, ...env },
  })
  assert.is(signal, null, `it hung: ${JSON.stringify(env)} ${stdin.slice(0, 500)}`)
  assert.not.match(stderr, /^\s+at .*:\d+:\d+\)?$/m, 'a stack on standard error is nobody’s answer')
  return { status, stdout }
}

/** True for success. Throws when the answer is neither that nor a CNI error in words. */
function verifyAnswer({ status, stdout }: Ran, context: string): boolean {
  if (status === 0) {
    if (stdout !== '') JSON.parse(stdout)
    return true
  }
  assert.is(status, 1, context)
  const { cniVersion, code, msg } = JSON.parse(stdout)
  assert.type(cniVersion, 'string', context)
  assert.ok(Number.isSafeInteger(code) && code > 0, context)
  assert.ok(typeof msg === 'string' && msg !== '', context)
  assert.not.match(msg, /Cannot (read|destructure)|is not a function|\bundefined\b|call stack/, context)
  return false
}

/** Only directories of the lab are written to, whatever the configuration says. */
function confined(conf: unknown, lab: Lab): unknown {
  if (typeof conf !== 'object' || conf === null || Array.isArray(conf)) return conf
  const { ipam, dataDir, ...rest } = conf as Record<string, unknown>
  const inside = (path: unknown) => (typeof path === 'string' && path.startsWith('/') ? lab.dataDir : (path ?? lab.dataDir))
  const isObject = typeof ipam === 'object' && ipam !== null && !Array.isArray(ipam)
  const own =
    isObject && 'dataDir' in ipam ? { ...ipam, dataDir: inside(ipam.dataDir) } : isObject ? { ...ipam, dataDir: lab.dataDir } : ipam
  return { ...rest, dataDir: inside(dataDir), ...(ipam === undefined ? {} : { ipam: own }) }
}

const variable = (good: string) =>
  fc.oneof(
    { weight: 6, arbitrary: fc.constant(good) },
    { weight: 1, arbitrary: fc.constantFrom('', '/', '..', 'a b', 'x'.repeat(1_000)) },
    {
      weight: 1,
      arbitrary: fc.string().map(part => part.replaceAll('\0', '')),
    },
  )

const runsOf = (lab: Lab, pod: string): fc.Arbitrary<Run> =>
  fc.record({
    env: fc.record({
      CNI_COMMAND: fc.constantFrom('ADD', 'ADD', 'ADD', 'DEL', 'CHECK', 'GC', 'STATUS', 'VERSION', 'X'),
      CNI_CONTAINERID: variable(pod),
      CNI_NETNS: variable(`/run/netns/${pod}`),
      CNI_IFNAME: variable('eth0'),
      CNI_PATH: variable('/nonexistent'),
      CNI_ARGS: variable('IgnoreUnknown=1;K8S_POD_NAME=x'),
    }),
    stdin: text(
      fc
        .oneof({ weight: 4, arbitrary: damaged(...CONFIGURATIONS) }, { weight: 1, arbitrary: fc.constantFrom(...CONFIGURATIONS) })
        .map(conf =>
          confined(typeof conf === 'object' && conf !== null && !Array.isArray(conf) ? { ...conf, agent: { spawn: false } } : conf, lab),
        ),
    ),
  })

for (const [index, [name, executable]] of EXECUTABLES.entries()) {
  test(`${name}: environment and configuration at random`, () => {
    using lab = new Lab(executable)
    const pod = lab.netns()
    let succeeded = 0
    const before = stateOf(lab, pod)
    const verifyUntouched = (when: string) => {
      const { rules, ...after } = stateOf(lab, pod) // an ADD leaves its empty table
      assert.equal(after, { namespaces: before.namespaces, files: before.files }, when)
    }
    cases(`${name} run`, index === 0 ? runs(30, 1_500) : runs(8, 300), runsOf(lab, pod), given => {
      const context = `${JSON.stringify(given.env)} ${given.stdin.slice(0, 1_000)}`
      if (verifyAnswer(run(lab, given), context)) {
        if (given.env.CNI_COMMAND !== 'ADD') return
        succeeded++
        assert.ok(verifyAnswer(run(lab, { ...given, env: { ...given.env, CNI_COMMAND: 'DEL' } }), context), 'what ADD made, DEL removes')
      }
      if (isLong) verifyUntouched(context)
    })
    verifyUntouched('after all of them; TUNLINK_LONG=1 finds after which')
    console.log(`\nfigure: input, ${name} run: ${succeeded} ADDs among them made a link`)
  })

  test(`${name}: what waits for ever, or has no end, is answered as well`, () => {
    using lab = new Lab(executable)
    const pod = lab.netns()
    const before = stateOf(lab, pod)
    const fifo = join(lab.dataDir, 'fifo')
    const huge = join(lab.dataDir, 'huge')
    execFileSync('mkfifo', [fifo])
    writeFileSync(huge, '')
    truncateSync(huge, 2 ** 40)
    const conf = { ...lab.conf, agent: { spawn: false } }
    const env = { CNI_CONTAINERID: pod, CNI_NETNS: `/run/netns/${pod}`, CNI_IFNAME: 'eth0', CNI_PATH: '/nonexistent' }
    const refused = (command: string, change: object, other: object = {}, stdin = JSON.stringify({ ...conf, ...change })) =>
      assert.not(verifyAnswer(run(lab, { env: { CNI_COMMAND: command, ...env, ...other }, stdin }), JSON.stringify([change, other])))
    for (const path of [fifo, huge, lab.dataDir, '/dev/null', '/nonexistent/x']) {
      refused('ADD', {}, { CNI_NETNS: path })
      if (path !== '/dev/null') refused('ADD', { ipam: { ...conf.ipam, resolvConf: path } })
    }
    for (const stdin of [nestedJson(300_000), `{"x":"${'y'.repeat(4 << 20)}"}`, '', '\0'.repeat(1 << 16)]) refused('ADD', {}, {}, stdin)
    assert.equal(stateOf(lab, pod), before)
  })

  test(`${name}: a FIFO in a record's place keeps no verb waiting, and the next ADD replaces it`, () => {
    using lab = new Lab(executable)
    const pod = lab.netns()
    const file = join(lab.dataDir, 'links/net', `${pod}:eth0.json`)
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 })
    const conf = { ...lab.conf, agent: { spawn: false } }
    for (const command of ['CHECK', 'STATUS', 'GC', 'DEL', 'ADD', 'DEL']) {
      spawnSync('mkfifo', [file])
      const env = {
        CNI_COMMAND: command,
        CNI_CONTAINERID: pod,
        CNI_NETNS: `/run/netns/${pod}`,
        CNI_IFNAME: 'eth0',
        CNI_PATH: '/nonexistent',
      }
      const valid = [{ containerID: pod, ifname: 'eth0' }]
      const prevResult = { cniVersion: '1.1.0', interfaces: [{ name: 'eth0', sandbox: env.CNI_NETNS }], ips: [] }
      const stdin = JSON.stringify({ ...conf, prevResult, 'cni.dev/valid-attachments': valid })
      const isGood = verifyAnswer(run(lab, { env, stdin }), command)
      assert.is(isGood, command !== 'CHECK', command)
    }
    assert.equal(lab.links(pod), [])
  })
}

test.run()
