/**
 * STATUS tells the truth: it fails, with code and words, where an ADD would fail, and succeeds
 * where one would succeed. containerd 2 makes a node NotReady by it. Needs root.
 */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { constants, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { socketPath } from '../../src/agent/protocol.ts'
import { EXECUTABLES, eventually, inside, Lab, type Output } from '../support.ts'

const test = suite('status')
const dist = dirname(EXECUTABLES[0]![1])
const { EPERM, EPROTONOSUPPORT } = constants.errno

/** Runs the command in a mount namespace of its own, after `script`; $D is the lab's dataDir. */
const mounted = (script: string) => (lab: Lab) => ['unshare', '-m', 'sh', '-ec', `D=${lab.dataDir}; ${script}; exec "$0" "$@"`]
const readOnly = (path: string) => `mount --bind ${path} ${path}; mount -o remount,ro,bind ${path}`
const noExec = (path: string) => `mount --bind ${path} ${path}; mount -o remount,noexec,bind ${path}`
const without = (call: string, errno: number) => () => [
  process.execPath,
  join(import.meta.dirname, 'without-syscall.ts'),
  call,
  String(errno),
]

// <asm/unistd.h>, <linux/netlink.h>
const SYS_SOCKET = process.arch === 'arm64' ? 198 : 41
const SYS_SETNS = process.arch === 'arm64' ? 268 : 308
const SYS_INOTIFY_INIT1 = process.arch === 'arm64' ? 26 : 294
const NETLINK_NETFILTER = 12

const IPV4 = { type: 'tunlink', subnet: '10.66.0.0/24' }
const IPV6 = { type: 'tunlink', subnet: 'fd66::/64' }
const DUAL = { type: 'tunlink', ranges: [[{ subnet: '10.66.0.0/24' }], [{ subnet: 'fd66::/64' }]] }
const ATTACH = { farEnd: 'attach', owner: 1 }

interface Situation {
  conf?: object
  /** sysctl -w on the node before. */
  sysctls?: string[]
  wrapper?: (lab: Lab) => string[]
  env?: Record<string, string>
  /** Of STATUS; absent: it succeeds, and so does ADD. */
  words?: RegExp
  /** With tunlink.cjs too: where Node and Bun may differ. */
  both?: true
}

const FORWARDS = ['net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1']
const ROOT = mkdtempSync(join(tmpdir(), 'tunlink-status-'))
/** What a kernel without IPv6 shows. */
const PROC_SYS = join(ROOT, 'proc-sys')
mkdirSync(join(PROC_SYS, 'net/ipv4'), { recursive: true })
writeFileSync(join(PROC_SYS, 'net/ipv4/ip_forward'), '1\n')
/** A directory of plugins: one fails with words of its own. */
const PLUGINS = join(ROOT, 'plugins')
mkdirSync(PLUGINS)
writeFileSync(join(PLUGINS, 'broken'), `#!/bin/sh\necho '{"cniVersion":"1.1.0","code":50,"msg":"the store is away"}'\nexit 1\n`)
chmodSync(join(PLUGINS, 'broken'), 0o755)

const SITUATIONS: Record<string, Situation> = {
  'nothing in the way': { both: true },
  'nothing in the way of a thread wire': { conf: { wire: 'thread' } },
  'nothing in the way of an attach link': { conf: ATTACH },
  'nf_tables are not there': {
    wrapper: without(`${SYS_SOCKET}:2=${NETLINK_NETFILTER}`, EPROTONOSUPPORT),
    words: /nf_tables, which keep pods from .* cannot be used: .*the kernel has no nfnetlink/,
  },
  'nf_tables are not there, and an attach link needs none': {
    conf: ATTACH,
    wrapper: without(`${SYS_SOCKET}:2=${NETLINK_NETFILTER}`, EPROTONOSUPPORT),
  },
  '/proc/sys is read-only and the node does not forward': {
    wrapper: mounted(readOnly('/proc/sys')),
    words: /sysctl net\.ipv4\.ip_forward is not 1.*; and \/proc\/sys cannot be written/,
  },
  '/proc/sys is read-only and the node does not forward IPv6': {
    conf: { ipam: DUAL },
    sysctls: ['net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=0'],
    wrapper: mounted(readOnly('/proc/sys')),
    words: /a link cannot be set up: sysctl net\.ipv6\.conf\.all\.forwarding is not 1/,
  },
  '/proc/sys is read-only and new devices take router advertisements': {
    sysctls: ['net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=0', 'net.ipv6.conf.default.accept_ra=1'],
    wrapper: mounted(readOnly('/proc/sys')),
    words: /sysctl net\.ipv6\.conf\.default\.accept_ra is 1, and net\.ipv6\.conf\.default\.forwarding is not 1; and/,
  },
  '/proc/sys is read-only and IPv6 is off on new devices': {
    conf: { ipam: DUAL },
    sysctls: [...FORWARDS, 'net.ipv6.conf.default.disable_ipv6=1'],
    wrapper: mounted(readOnly('/proc/sys')),
    words: /sysctl net\.ipv6\.conf\.default\.disable_ipv6 is 1; and/,
  },
  '/proc/sys is read-only where all is as it must be': {
    conf: { ipam: DUAL },
    sysctls: FORWARDS,
    wrapper: mounted(readOnly('/proc/sys')),
  },
  '/proc/sys is read-only, and an IPv6 network needs no IPv4 forwarding': {
    conf: { ipam: IPV6 },
    sysctls: ['net.ipv4.ip_forward=0', 'net.ipv6.conf.all.forwarding=1'],
    wrapper: mounted(readOnly('/proc/sys')),
  },
  'the ranges are IPv6 and the kernel has none': {
    conf: { ipam: DUAL },
    env: { TUNLINK_PROC_SYS: PROC_SYS },
    words: /this kernel has no IPv6/,
  },
  'the ranges are IPv6 and the kernel has none, for an attach link': {
    conf: { ...ATTACH, ipam: IPV6 },
    env: { TUNLINK_PROC_SYS: PROC_SYS },
    words: /"ipam" has IPv6 ranges: this kernel has no IPv6/,
  },
  'the ranges are IPv4 and the kernel has no IPv6': { conf: { ipam: IPV4 }, env: { TUNLINK_PROC_SYS: PROC_SYS } },
  '/dev/net/tun is missing': { wrapper: mounted('mount -t tmpfs none /dev/net'), words: /\/dev\/net\/tun: ENOENT/ },
  '/dev/net/tun is another device': {
    wrapper: mounted('mount --bind /dev/null /dev/net/tun'),
    words: /\/dev\/net\/tun: it is not the TUN device \(character device 10:200\)/,
  },
  '/dev/net/tun is a file': {
    wrapper: mounted('mount --bind /etc/hostname /dev/net/tun'),
    words: /\/dev\/net\/tun: it is not the TUN device/,
  },
  'setns is refused': { both: true, wrapper: without(String(SYS_SETNS), EPERM), words: /no TUN device can be made: setns: EPERM/ },
  'setns is refused, for an attach link': {
    conf: ATTACH,
    wrapper: without(String(SYS_SETNS), EPERM),
    words: /no TUN device can be made: setns: EPERM/,
  },
  'the foreign function addon cannot be loaded': {
    wrapper: mounted(
      [...['/dev/shm', '/run', '/var/tmp', '/tmp'].map(noExec), `mount --bind ${dist} ${dist}; mount -o remount,exec,ro,bind ${dist}`].join(
        '; ',
      ),
    ),
    words: /Cannot load the foreign function interface: one of .* must be writable and not mounted noexec/,
  },
  'libstdc++ is missing': {
    wrapper: mounted(
      'for library in $(ldconfig -p | sed -n "s/.*libstdc++\\.so\\.6 .*=> //p"); do mount --bind /dev/null $(realpath $library); done',
    ),
    words: /Cannot load libstdc\+\+\.so\.6: install it/,
  },
  '"dataDir" is full': {
    wrapper: mounted('mount -t tmpfs -o size=16k,mode=700 none $D; head -c 16384 /dev/zero >$D/full'),
    words: /"dataDir" .*: ENOSPC/,
  },
  '"dataDir" is read-only': { both: true, wrapper: mounted(readOnly('$D')), words: /"dataDir" .*: EROFS/ },
  '"dataDir" is not there, and cannot be made': {
    conf: { dataDir: '/proc/tunlink' },
    words: /"dataDir" "\/proc\/tunlink" cannot be used: ENOENT/,
  },
  '"dataDir" may be written by others': {
    wrapper: mounted('chmod 777 $D'),
    words: /"dataDir" .* others may write to it; chmod 700 it/,
  },
  'the delegate is missing': { conf: { ipam: { type: 'absent' } }, words: /ipam "absent": failed to find plugin "absent"/ },
  'the delegate fails': {
    conf: { ipam: { type: 'broken' } },
    env: { CNI_PATH: PLUGINS },
    words: /ipam "broken": .*the store is away/,
  },
  'no agent may be started for a thread wire': {
    conf: { wire: 'thread', agent: { spawn: false } },
    words: /no agent answers at .*\/agent\.sock, and "agent\.spawn" is false/,
  },
  'no agent may be started, and the kernel wire needs none': { conf: { agent: { spawn: false } } },
  'no inotify instance is left (fs.inotify.max_user_instances)': {
    both: true,
    wrapper: without(String(SYS_INOTIFY_INIT1), constants.errno.EMFILE),
  },
  'no memory may be locked (ulimit -l)': { wrapper: () => ['prlimit', '--memlock=0:0'] },
  'no memory may be locked, with a thread wire': { both: true, conf: { wire: 'thread' }, wrapper: () => ['prlimit', '--memlock=0:0'] },
}

/** One error of code 50, whose words are `words`. */
function isRefused({ status, json, stdout, stderr }: Output, words: RegExp, code = 50): void {
  assert.is(status, 1, `${stdout}${stderr}`)
  assert.is(json?.code, code, stdout)
  assert.is(json.msg, code === 50 ? 'plugin not available' : 'limited connectivity')
  assert.match(json.details, words)
}

for (const [name, executable] of EXECUTABLES)
  for (const [what, { conf = {}, sysctls = [], wrapper, env = {}, words, both }] of Object.entries(SITUATIONS)) {
    if (name !== 'tunlink' && both === undefined) continue
    test(`${name}: ${what}: ${words === undefined ? 'STATUS and ADD succeed' : 'STATUS is 50, and ADD fails'}`, () => {
      using lab = new Lab(executable)
      const pod = lab.netns()
      if (sysctls.length > 0) inside(lab.node, 'sysctl', '-qw', ...sysctls)
      chmodSync(lab.dataDir, 0o700)
      lab.wrapper = wrapper?.(lab) ?? []
      const status = lab.cni('STATUS', pod, conf, env)
      if (words === undefined) assert.is(status.status, 0, status.stdout + status.stderr)
      else isRefused(status, words)
      const { status: added, stdout } = lab.cni('ADD', pod, conf, env)
      assert.is(added, words === undefined ? 0 : 1, stdout)
      if (words !== undefined) assert.equal(lab.links(pod), [])
    })
  }

/** A test with a lab of its own. */
const testWithLab = (name: string, body: (lab: Lab, pod: string) => void | Promise<void>) =>
  test(name, async () => {
    using lab = new Lab()
    await body(lab, lab.netns())
  })

testWithLab('an agent that hangs: 50, and its socket', (lab, pod) => {
  lab.must('ADD', pod)
  process.kill(lab.agentPid()!, 'SIGSTOP')
  isRefused(lab.cni('STATUS', pod), /the agent at .*\/agent\.sock did not answer within \d+ s/)
})

testWithLab('thread wires on record and no agent: 51, as those pods have lost their network', async (lab, pod) => {
  const conf = { wire: 'thread', agent: { spawn: false } }
  lab.must('ADD', pod, { wire: 'thread' })
  lab.must('STATUS', pod, conf)
  const pid = lab.agentPid()!
  process.kill(pid, 'SIGKILL')
  await eventually('it has ended', () => lab.agentPid() === undefined)
  isRefused(lab.cni('STATUS', pod, conf), /no agent answers at .*, and 1 thread wires are on record/, 51)
  lab.must('STATUS', pod, { wire: 'thread' }) // starts one, which serves them
})

testWithLab('a thread wire on record that the agent cannot serve: 51', async (lab, pod) => {
  lab.must('ADD', pod, { wire: 'thread' })
  process.kill(lab.agentPid()!, 'SIGKILL')
  await eventually('it has ended', () => lab.agentPid() === undefined)
  inside(pod, 'ip', 'link', 'del', 'eth0')
  isRefused(lab.cni('STATUS', pod), /1 thread wires on record are not served/, 51)
})

testWithLab('an agent of another version is replaced by an ADD, so STATUS succeeds', async (lab, pod) => {
  const foreign = createServer(socket => socket.on('error', () => {}).on('data', () => socket.write('{"ok":true}\n')))
  await new Promise<void>(done => foreign.listen(socketPath(lab.dataDir), done))
  try {
    await lab.mustBeside('STATUS', pod)
  } finally {
    foreign.close()
  }
})

testWithLab('an exhausted pool is not told by STATUS, but by ADD: healthy pods would lose their node', (lab, pod) => {
  const small = { ipam: { type: 'tunlink', subnet: '10.66.0.5/32' } }
  lab.must('ADD', pod, small)
  lab.must('STATUS', pod, small)
  const { json } = lab.cni('ADD', lab.netns(), small)
  assert.equal([json.code, json.msg], [100, 'no addresses available in range set: 10.66.0.5-10.66.0.5'])
})

testWithLab('a file that a killed STATUS has left is in nobody’s way', (lab, pod) => {
  lab.must('STATUS', pod)
  lab.wrapper = ['sh', '-ec', 'touch "$0/.status-$$"; exec "$@"', lab.dataDir]
  lab.must('STATUS', pod)
})

test.after(() => rmSync(ROOT, { recursive: true }))

test.run()
