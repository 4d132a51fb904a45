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
import { EXECUTABLES, inside, ip, Lab } from '../support.ts'
import { AnswerTimes, timed } from './answer-times.ts'
import { casesAsync } from './cases.ts'
import { damaged, nestedJson, runs, text } from './garbage.ts'
import { CONFIGURATIONS } from './good.ts'
import { nftElements } from './kernel-state.ts'
import { stateOf, withoutNode } from './state.ts'

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
  if (status === 0) return true
  assert.is(status, 1, context)
  const { cniVersion, code, msg } = JSON.parse(stdout)
  assert.type(cniVersion, 'string', context)
  assert.ok(Number.isSafeInteger(code) && code > 0, context)
  assert.ok(typeof msg === 'string' && msg !== '', context)
  assert.not.match(msg, /Cannot (read|destructure)|is not a function|\bundefined\b|call stack/, context)
  return false
}

/** Throws when what a verb printed on success is not what the specification wants of it. */
function verifyOutput(lab: Lab, pod: string, { env, stdin }: Run, stdout: string): void {
  const context = `${JSON.stringify(env)} ${stdin.slice(0, 1_000)} ${stdout}`
  if (env.CNI_COMMAND === 'ADD') verifyResult(lab, pod, { env, stdin }, JSON.parse(stdout), context)
  else if (env.CNI_COMMAND === 'VERSION') assert.ok(JSON.parse(stdout).supportedVersions.includes('1.1.0'), context)
  else assert.is(stdout, '', context)
}

interface Result {
  cniVersion: string
  interfaces?: { name: string; sandbox?: string }[]
  ips?: { address: string; interface?: number }[]
  ip4?: { ip: string }
  ip6?: { ip: string }
}

/** A result has the version that was asked for, and only addresses that the pod really has. */
function verifyResult(lab: Lab, pod: string, { env, stdin }: Run, result: Result, context: string): void {
  const { cniVersion, type } = JSON.parse(stdin)
  assert.is(result.cniVersion, cniVersion || '0.1.0', context)
  const old = [result.ip4, result.ip6].flatMap(item => (item === undefined ? [] : [{ address: item.ip, interface: undefined }]))
  const { interfaces = [], ips = old } = result
  if (typeof type === 'string' && type !== 'tunlink') {
    // as the IPAM of another plugin: a lease and no link
    const leased = ips.map(({ address }) => address.split('/')[0]!)
    assert.ok(leased.length > 0 && leased.every(address => lab.files().includes(address)), context)
    assert.equal(lab.links(pod), [], context)
    return
  }
  const device = env.CNI_IFNAME!
  const links = ip(pod, 'address') as { ifname: string; addr_info: { local: string }[] }[]
  const addresses = links.find(({ ifname }) => ifname === device)?.addr_info.map(({ local }) => local)
  assert.ok(addresses !== undefined, `${context}: there is no ${device}`)
  const hasInterfaces = !['0.1.0', '0.2.0'].includes(result.cniVersion)
  const at = interfaces.findLastIndex(item => item.name === device && item.sandbox === env.CNI_NETNS)
  assert.is(at >= 0, hasInterfaces, context)
  const own = ips.filter(item => !hasInterfaces || item.interface === at).map(({ address }) => address.split('/')[0]!)
  if (hasInterfaces) assert.equal(own.toSorted(), addresses!.filter(local => !local.startsWith('fe80:')).toSorted(), context)
  else assert.ok(own.length > 0 && own.every(address => addresses!.includes(address)), context)
}

/** Only directories of the lab are written to, whatever the configuration says. */
function confined(conf: unknown, lab: Lab): unknown {
  if (typeof conf !== 'object' || conf === null || Array.isArray(conf)) return conf
  const { ipam, dataDir, ...rest } = conf as Record<string, unknown>
  const within = (path: unknown) => (typeof path === 'string' && path.startsWith('/') ? lab.dataDir : (path ?? lab.dataDir))
  const isObject = typeof ipam === 'object' && ipam !== null && !Array.isArray(ipam)
  const own =
    isObject && 'dataDir' in ipam ? { ...ipam, dataDir: within(ipam.dataDir) } : isObject ? { ...ipam, dataDir: lab.dataDir } : ipam
  return { ...rest, dataDir: within(dataDir), ...(ipam === undefined ? {} : { ipam: own }) }
}

/** Mostly `good`. */
const variable = (good: string) =>
  fc.oneof(
    { weight: 6, arbitrary: fc.constant(good) },
    { weight: 1, arbitrary: fc.constantFrom('', '/', '..', 'a b', 'x'.repeat(1_000)) },
    {
      weight: 1,
      arbitrary: fc.string().map(part => part.replaceAll('\0', '')),
    },
  )

const goodEnv = (pod: string, command = 'ADD'): Record<string, string> => ({
  CNI_COMMAND: command,
  CNI_CONTAINERID: pod,
  CNI_NETNS: `/run/netns/${pod}`,
  CNI_IFNAME: 'eth0',
  CNI_PATH: '/nonexistent',
})

const envOf = (pod: string): fc.Arbitrary<Record<string, string>> => {
  const good = goodEnv(pod)
  const CNI_COMMAND = fc.constantFrom('ADD', 'ADD', 'ADD', 'DEL', 'CHECK', 'GC', 'STATUS', 'VERSION', 'X')
  return fc.oneof(
    CNI_COMMAND.map(command => goodEnv(pod, command)),
    fc.record({
      CNI_COMMAND,
      CNI_CONTAINERID: variable(pod),
      CNI_NETNS: variable(good.CNI_NETNS!),
      CNI_IFNAME: variable('eth0'),
      CNI_PATH: variable('/nonexistent'),
      CNI_ARGS: variable('IgnoreUnknown=1;K8S_POD_NAME=x'),
    }),
  )
}

const isPlain = (conf: unknown): conf is object => typeof conf === 'object' && conf !== null && !Array.isArray(conf)

/** The configuration for a lab: within its directories, and no agent is started. */
const inLab = (conf: unknown, lab: Lab): unknown => confined(isPlain(conf) ? { ...conf, agent: { spawn: false } } : conf, lab)

const runsOf = (lab: Lab, pod: string): fc.Arbitrary<Run> =>
  fc.record({
    env: envOf(pod),
    stdin: fc.oneof(
      { weight: 3, arbitrary: text(damaged(...CONFIGURATIONS).map(conf => inLab(conf, lab))) },
      { weight: 1, arbitrary: fc.constantFrom(...CONFIGURATIONS).map(conf => JSON.stringify(inLab(conf, lab))) },
    ),
  })

/** Every good configuration whose IPAM is here: so that some of the ADDs make a link. */
const goodRuns = (lab: Lab, pod: string): Run[] =>
  CONFIGURATIONS.filter(({ ipam }) => (ipam as { type: string }).type === 'tunlink').map(conf => ({
    env: goodEnv(pod),
    stdin: JSON.stringify(inLab(conf, lab)),
  }))

/** So that the next error must leave forwarding off. */
const forwardNothing = ({ node }: Lab) => inside(node, 'sysctl', '-qw', 'net.ipv4.ip_forward=0', 'net.ipv6.conf.all.forwarding=0')

for (const [index, [name, executable]] of EXECUTABLES.entries()) {
  test(`${name}: environment and configuration at random`, async () => {
    using lab = new Lab(executable)
    const pod = lab.netns()
    const made = { links: 0, leases: 0 }
    const times = new AnswerTimes(`${name} run`)
    let before = stateOf(lab, pod)
    const version = { env: { CNI_COMMAND: 'VERSION' }, stdin: '' }
    /** The ms of the answer, which is verified, as is what it has left. */
    const answer = async (given: Run): Promise<number> => {
      const context = `${JSON.stringify(given.env)} ${given.stdin.slice(0, 1_000)}`
      const [ran, ms] = await timed(() => run(lab, given))
      const isGood = verifyAnswer(ran, context)
      const isMade = isGood && given.env.CNI_COMMAND === 'ADD'
      if (isGood) verifyOutput(lab, pod, given, ran.stdout)
      if (isMade) {
        made[lab.links(pod).length > 0 ? 'links' : 'leases']++
        const removed = run(lab, { ...given, env: { ...given.env, CNI_COMMAND: 'DEL' } })
        assert.ok(verifyAnswer(removed, context), `what ADD made, DEL removes: ${context}`)
        forwardNothing(lab)
      }
      const after = stateOf(lab, pod)
      // a link has turned forwarding on, and leaves its empty table
      if (isMade) assert.equal(withoutNode(after), withoutNode(before), context)
      else assert.equal(after, before, context)
      before = after
      return ms
    }
    await casesAsync(
      `${name} run`,
      index === 0 ? runs(30, 1_500) : runs(8, 300),
      runsOf(lab, pod),
      async given =>
        times.compare(
          JSON.stringify(given).slice(0, 1_000),
          async () => (await timed(() => run(lab, version)))[1],
          () => answer(given),
        ),
      goodRuns(lab, pod),
    )
    console.log(`\nfigure: input, ${name} run: ${made.links} ADDs among them made a link, ${made.leases} a lease`)
    times.verify()
    assert.ok(made.links > 0 && made.leases > 0)
    assert.equal(nftElements(lab.node), { links: [], masq4: [], masq6: [] })
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
    const refused = (command: string, change: object, other: object = {}, stdin = JSON.stringify({ ...conf, ...change })) =>
      assert.not(verifyAnswer(run(lab, { env: { ...goodEnv(pod, command), ...other }, stdin }), JSON.stringify([change, other])))
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
      const env = goodEnv(pod, command)
      const valid = [{ containerID: pod, ifname: 'eth0' }]
      const prevResult = { cniVersion: '1.1.0', interfaces: [{ name: 'eth0', sandbox: env.CNI_NETNS }], ips: [] }
      const stdin = JSON.stringify({ ...conf, prevResult, 'cni.dev/valid-attachments': valid })
      const ran = run(lab, { env, stdin })
      assert.is(verifyAnswer(ran, command), command !== 'CHECK', command)
      if (command !== 'CHECK' && command !== 'ADD') assert.is(ran.stdout, '', command)
    }
    assert.equal(lab.links(pod), [])
  })
}

test.run()
