/**
 * What happens over time: agents killed, many ADDs at once, namespaces that vanish, file systems
 * that refuse.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { output, program, start, transfer } from '../processes.ts'
import { EXECUTABLES, eventually, inside, ip, Lab, many, mebibytes, pings } from '../support.ts'

const test = suite('lifecycle')

for (const [name, executable] of EXECUTABLES) {
  test(`${name}: thread wire: an agent killed during a transfer and started again: the transfer completes`, async () => {
    using lab = new Lab(executable)
    const [one, two] = [lab.netns(), lab.netns()]
    lab.must('ADD', one, { wire: 'thread' })
    const address = lab.must('ADD', two, { wire: 'thread' }).json.ips[0].address.replace('/32', '')
    await transfer({ from: one, to: two, address, port: 5001, bytes: mebibytes(256), pauseMs: 3 }, async () => {
      await new Promise(done => setTimeout(done, 300))
      const killed = lab.agentPid()!
      process.kill(killed, 'SIGKILL')
      await new Promise(done => setTimeout(done, 200))
      const again = spawn('ip', ['netns', 'exec', lab.node, executable, 'agent', '--data-dir', lab.dataDir, '--idle-exit', '1'], {
        stdio: 'ignore',
        detached: true,
        env: { PATH: `${resolve(process.execPath, '..')}:${process.env.PATH}` },
      })
      again.unref()
      await eventually('another agent serves', () => lab.agentPid() !== undefined && lab.agentPid() !== killed)
    })
    lab.must('DEL', one)
    lab.must('DEL', two)
    assert.equal([...lab.links(one), ...lab.links(lab.node), ...lab.files()], [])
  })
}

/** Opens a TUN eth0, says so, and ends after some seconds: as an agent that was killed half-way. */
const HOLD = `
import fcntl, struct, sys, time
tun = open('/dev/net/tun', 'r+b', buffering=0)
# TUNSETIFF: IFF_TUN | IFF_NO_PI | IFF_VNET_HDR
fcntl.ioctl(tun, 0x400454ca, struct.pack('16sH14x', b'eth0', 0x5001))
print('ready', flush=True)
time.sleep(float(sys.argv[1]))`

for (const [name, executable] of EXECUTABLES)
  test(`${name}: ADD waits a second for a TUN of its name that another process is about to close, and no longer`, async () => {
    using lab = new Lab(executable)
    const pod = lab.netns()
    for (const [seconds, status] of [
      [0.3, 0],
      [30, 1],
    ]) {
      const holder = start(pod, 'python3', '-c', HOLD, String(seconds))
      const { text } = output(holder)
      await eventually('the TUN is there', () => text().includes('ready'))
      const added = lab.cni('ADD', pod)
      assert.is(added.status, status, added.stdout)
      if (status === 1) assert.is(added.json.code, 4)
      holder.kill('SIGKILL')
      lab.must('DEL', pod)
    }
    await eventually('nothing is left', () => [...lab.links(pod), ...lab.links(lab.node), ...lab.files()].length === 0)
  })

const COUNT = many(200)
test(`${COUNT} ADDs, 16 at a time, then ${COUNT} DELs: no address twice, nothing left`, async () => {
  using lab = new Lab()
  const conf = { ipMasq: true, ipam: { type: 'tunlink', subnet: '10.66.0.0/24' } }
  const atATime = async (count: number, items: string[], body: (item: string) => Promise<unknown>) => {
    const queue = [...items]
    await Promise.all(
      Array.from({ length: count }, async () => {
        for (let item = queue.shift(); item !== undefined; item = queue.shift()) await body(item)
      }),
    )
  }
  const pods = Array.from({ length: COUNT }, () => lab.netns())
  const addresses = new Set<string>()
  await atATime(16, pods, async pod => addresses.add(JSON.parse(await lab.mustBeside('ADD', pod, conf)).ips[0].address))
  assert.is(addresses.size, COUNT)
  assert.ok(pings(pods[0]!, '10.66.0.1'))
  assert.is(JSON.parse(inside(lab.node, 'nft', '-j', 'list', 'set', 'inet', 'tunlink', 'masq4')).nftables[1].set.elem.length, COUNT)
  await atATime(16, pods, pod => lab.mustBeside('DEL', pod, conf))
  assert.equal([...lab.links(lab.node), ...pods.flatMap(pod => lab.links(pod)), ...lab.files()], [])
  assert.is(JSON.parse(inside(lab.node, 'nft', '-j', 'list', 'set', 'inet', 'tunlink', 'masq4')).nftables[1].set.elem, undefined)
  await eventually('the agent ends', () => lab.agentPid() === undefined)
})

test('a user without capabilities attaches to its link and answers ping; another user gets EPERM', async () => {
  using lab = new Lab()
  const device = '/dev/net/tun'
  const mode = execFileSync('stat', ['-c', '%a', device], { encoding: 'utf8' }).trim()
  execFileSync('chmod', ['666', device]) // as udev has it; a container gets a node of its own
  try {
    const pod = lab.netns()
    lab.must('ADD', pod, {
      farEnd: 'attach',
      owner: 4242,
      group: 4242,
      peer: '10.66.66.2',
      ipam: { type: 'tunlink', subnet: '10.66.66.1/32' },
    })
    const [link] = ip(pod, '-d', 'link', 'show', 'dev', 'eth0')
    assert.equal(
      [link.linkinfo.info_data.type, String(link.linkinfo.info_data.user), link.linkinfo.info_data.persist],
      ['tun', '4242', true],
    )
    const as = (uid: number, gid = uid) => [
      'setpriv',
      `--reuid=${uid}`,
      `--regid=${gid}`,
      '--clear-groups',
      '--inh-caps=-all',
      '--bounding-set=-all',
      ...program('echo', 'eth0'),
    ]
    for (const other of [as(4243), as(4243, 4242), as(4242, 4243)]) {
      assert.match(spawnSync('ip', ['netns', 'exec', pod, ...other], { encoding: 'utf8' }).stderr, /EPERM/, 'both uid and gid must match')
    }
    const child = start(pod, ...as(4242))
    const echo = output(child)
    await eventually('the process attaches', () => echo.text().includes('attached'))
    assert.ok(pings(pod, '10.66.66.2'))
    lab.must('DEL', pod, { farEnd: 'attach', owner: 4242 })
    assert.equal([...lab.links(pod), ...lab.files()], [])
    child.kill('SIGKILL')
  } finally {
    execFileSync('chmod', [mode, device])
  }
})

test('a multi-queue device is one', () => {
  using lab = new Lab()
  const pod = lab.netns()
  const conf = { farEnd: 'attach', owner: 0, group: 0, multiQueue: true, mtu: 1420, txQLen: 77 }
  const { json } = lab.must('ADD', pod, conf)
  const [link] = ip(pod, '-d', 'link', 'show', 'dev', 'eth0')
  assert.equal([link.linkinfo.info_data.multi_queue, link.mtu, link.txqlen], [true, 1420, 77])
  assert.equal(lab.links(lab.node), [], 'the node sees nothing of it')
  assert.is(inside(lab.node, 'cat', '/proc/sys/net/ipv4/ip_forward').trim(), '0', 'nor is forwarding turned on')
  lab.must('CHECK', pod, { ...conf, prevResult: json })
  inside(pod, 'ip', 'link', 'set', 'eth0', 'mtu', '1400')
  assert.match(lab.cni('CHECK', pod, { ...conf, prevResult: json }).json.msg, /mtu 1400, not 1420/)
  const tuned = { ...json, interfaces: [{ ...json.interfaces[0], mtu: 1400 }] }
  lab.must('CHECK', pod, { ...conf, prevResult: tuned })
  inside(pod, 'ip', 'address', 'flush', 'dev', 'eth0')
  assert.match(lab.cni('CHECK', pod, { ...conf, prevResult: tuned }).json.msg, /lacks the address/)
})

test('IPv6 works in a pod that has it disabled', () => {
  using lab = new Lab()
  const pod = lab.netns()
  inside(pod, 'sysctl', '-qw', 'net.ipv6.conf.all.disable_ipv6=1', 'net.ipv6.conf.default.disable_ipv6=1')
  lab.must('ADD', pod, { ipam: { type: 'tunlink', subnet: 'fd66::/64' } })
  assert.ok(pings(pod, 'fd66::1'))
})

test('a pod sends from its own addresses only', () => {
  using lab = new Lab()
  const [one, two] = [lab.netns(), lab.netns()]
  const ipam = { type: 'tunlink', ranges: [[{ subnet: '10.66.0.0/24' }], [{ subnet: 'fd66::/64' }]] }
  lab.must('ADD', one, { ipam })
  const [v4, v6] = lab.must('ADD', two, { ipam }).json.ips.map(({ address }: { address: string }) => address.replace(/\/.*/, ''))
  for (const [own, far] of [
    ['192.0.2.66', v4],
    ['2001:db8::66', v6],
  ]) {
    assert.ok(pings(one, far), `${far} answers`)
    inside(one, 'ip', 'address', 'add', own, 'dev', 'lo')
    inside(lab.node, 'ip', 'route', 'add', own, 'dev', 'lo') // not the way it comes from
    const counter = own.includes(':') ? 'Ip6InReceives' : 'IpInReceives'
    const received = () => Number(inside(two, 'nstat', '-asz', counter).match(/(\d+)\s+[\d.]+\s*$/)![1])
    const before = received()
    spawnSync('ip', ['netns', 'exec', one, 'ping', '-c', '2', '-i', '0.2', '-W', '1', '-I', own, far])
    assert.is(received(), before, `nothing from ${own} arrives`)
  }
})

for (const [wire, held] of [
  ['kernel', 1],
  ['thread', 2],
] as const)
  test(`${wire} wire: a namespace that vanishes without DEL is not pinned by the agent; GC removes what is left`, async () => {
    using lab = new Lab()
    const [one, two] = [lab.netns(), lab.netns()]
    lab.must('ADD', two, { wire })
    await eventually('the agent serves', () => lab.agentPid() !== undefined)
    lab.must('ADD', one, { wire })
    const agent = lab.agentPid()!
    const tunFds = () =>
      Number(execFileSync('sh', ['-c', `ls -l /proc/${agent}/fd 2>/dev/null | grep -c /dev/net/tun`], { encoding: 'utf8' }))
    await eventually('the agent holds both links', () => tunFds() === 2 * held)
    execFileSync('ip', ['netns', 'del', one])
    await eventually('the agent closes its descriptors', () => tunFds() === held)
    if (wire === 'kernel') await eventually('the kernel has deleted its pair', () => lab.links(lab.node).length === 1)
    lab.must('GC', two, { 'cni.dev/valid-attachments': [{ containerID: two, ifname: 'eth0' }] })
    assert.is(lab.links(lab.node).length, 1)
    assert.is(lab.files().filter(name => name.includes(one)).length, 0)
    assert.ok(pings(two, '10.66.0.1'))
  })

test('ADD after a lost DEL whose namespace is gone takes the place over', () => {
  using lab = new Lab()
  const [one, two] = [lab.netns(), lab.netns()]
  lab.must('ADD', one, {}, { CNI_CONTAINERID: 'same' })
  execFileSync('ip', ['netns', 'del', one])
  lab.must('ADD', two, {}, { CNI_CONTAINERID: 'same' })
  assert.ok(pings(two, '10.66.0.1'))
  lab.must('DEL', two, {}, { CNI_CONTAINERID: 'same' })
  assert.equal([...lab.links(lab.node), ...lab.files()], [])
})

for (const wire of ['kernel', 'thread'])
  test(`${wire} wire: DEL works when the agent is dead`, async () => {
    using lab = new Lab()
    const pod = lab.netns()
    lab.must('ADD', pod, { wire })
    await eventually('the agent serves', () => lab.agentPid() !== undefined)
    process.kill(lab.agentPid()!, 'SIGKILL')
    await eventually('the agent is dead', () => lab.agentPid() === undefined)
    lab.must('DEL', pod)
    assert.equal([...lab.links(pod), ...lab.links(lab.node), ...lab.files()], [])
    assert.is(lab.agentPid(), undefined)
  })

for (const [name, executable] of EXECUTABLES) {
  test(`${name}: runs with a read-only root and a noexec /tmp, many at once on first use`, () => {
    using lab = new Lab(executable)
    const pods = Array.from({ length: 8 }, () => lab.netns())
    const calls = pods.map(pod => `echo "$CONF" | CNI_CONTAINERID=${pod} CNI_NETNS=/run/netns/${pod} "$0" & `).join('')
    // What is under test may itself lie below /tmp: it is seen at /mnt, its Node at /srv.
    const sealed = `mount --bind ${dirname(executable)} /mnt && mount --bind ${dirname(process.execPath)} /srv && mount -t tmpfs -o noexec none /tmp && mount -o remount,bind,ro /`
    const output = spawnSync(
      'unshare',
      ['-m', 'sh', '-ec', `${sealed}; ! touch /sealed 2>/dev/null || exit 1; ${calls} wait`, `/mnt/${name}`],
      {
        encoding: 'utf8',
        env: {
          PATH: `/srv:${process.env.PATH}`,
          CONF: JSON.stringify({ ...lab.conf, farEnd: 'attach', owner: 1 }),
          CNI_COMMAND: 'ADD',
          CNI_IFNAME: 'eth0',
          CNI_PATH: '/x',
        },
      },
    )
    for (const pod of pods) assert.equal(lab.links(pod), ['eth0'], output.stdout + output.stderr)
  })
}

test('a runtime in a mount namespace of its own gets its link, whether or not an agent runs', () => {
  for (const isWarm of [false, true]) {
    using lab = new Lab()
    const [pod, other] = [lab.netns(), lab.netns()]
    if (isWarm) lab.must('ADD', other)
    const hidden = join(lab.dataDir, 'hidden')
    const bind = `mkdir -p ${hidden} && mount -t tmpfs none ${hidden} && touch ${hidden}/ns && mount --bind /run/netns/${pod} ${hidden}/ns`
    lab.wrapper = ['unshare', '-m', 'sh', '-c', `${bind} && exec "$0"`]
    const env = { CNI_NETNS: `${hidden}/ns` }
    const { json: prevResult } = lab.must('ADD', pod, {}, env)
    assert.ok(pings(pod, '10.66.0.1'))
    lab.must('CHECK', pod, { prevResult }, env)
    lab.must('DEL', pod, {}, env)
    assert.equal(lab.links(pod), [])
  }
})

test('without /dev/net/tun STATUS is 50, and ADD says so and leaves nothing', () => {
  using lab = new Lab()
  const pod = lab.netns()
  const env = { PATH: process.env.PATH, CNI_CONTAINERID: pod, CNI_NETNS: `/run/netns/${pod}`, CNI_IFNAME: 'eth0', CNI_PATH: '/x' }
  const without = (command: string) =>
    spawnSync('unshare', ['-m', 'sh', '-c', 'mount -t tmpfs none /dev/net && exec "$0"', lab.executable], {
      encoding: 'utf8',
      input: JSON.stringify({ ...lab.conf, farEnd: 'attach', owner: 1 }),
      env: { ...env, CNI_COMMAND: command },
    })
  const status = without('STATUS')
  assert.is(status.status, 1)
  assert.is(JSON.parse(status.stdout).code, 50)
  assert.match(JSON.parse(status.stdout).details, /\/dev\/net\/tun/)
  assert.match(JSON.parse(without('ADD').stdout).msg, /\/dev\/net\/tun/)
  assert.equal([...lab.links(pod), ...lab.files()], [])
})

test('tunlink runs where there is no Node, and nothing but glibc and /proc', () => {
  using lab = new Lab()
  const root = join(lab.dataDir, 'root')
  for (const library of [
    '/lib64/ld-linux-x86-64.so.2',
    '/lib/ld-linux-aarch64.so.1',
    'libc.so.6',
    'libpthread.so.0',
    'libdl.so.2',
    'libm.so.6',
  ]) {
    const path = library.startsWith('/')
      ? library
      : execFileSync('sh', ['-c', `ldconfig -p | grep -m1 -oE '/[^ ]*/${library}$'`], { encoding: 'utf8' }).trim()
    if (!existsSync(path)) continue
    execFileSync('mkdir', ['-p', join(root, path, '..')])
    copyFileSync(path, join(root, path))
  }
  copyFileSync(lab.executable, join(root, 'tunlink'))
  execFileSync('chmod', ['755', join(root, 'tunlink')])
  const enter = `mkdir ${root}/proc && mount --bind /proc ${root}/proc && CNI_COMMAND=VERSION exec chroot ${root} /tunlink`
  const { status, stdout } = spawnSync('unshare', ['-m', 'sh', '-c', enter], { encoding: 'utf8' })
  assert.is(status, 0)
  assert.match(stdout, /supportedVersions/)
})

test('the agent carries packets on a machine that lacks the directory where tunlink was built', () => {
  using lab = new Lab()
  const [copy, wrapper] = [join(lab.dataDir, 'tunlink'), join(lab.dataDir, 'elsewhere')]
  copyFileSync(lab.executable, copy)
  const hidden = dirname(lab.executable)
  writeFileSync(wrapper, `#!/bin/sh\nexec unshare -m sh -c 'mount -t tmpfs none ${hidden} && exec ${copy}'\n`, { mode: 0o755 })
  const pods = [lab.netns(), lab.netns()]
  lab.executable = wrapper
  const results = pods.map(pod => lab.must('ADD', pod).json)
  assert.ok(pings(pods[0]!, results[1].ips[0].address.split('/')[0]))
  for (const pod of pods) lab.must('DEL', pod)
})

test.run()
