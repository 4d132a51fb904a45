/** `tunlink ls`, `show`, `up`, `down`: what they print about real links, and their errors. */
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { readdirSync, statSync } from 'node:fs'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { describe } from '../../src/command/help.ts'
import { COMMANDS } from '../../src/command/main.ts'
import { eventually, inside, ip, Lab, many, pings } from '../support.ts'
import { tunlink, tunlinkBeside } from './run.ts'

const test = suite('command line')
let lab: Lab
let pod: string
test.before(() => {
  lab = new Lab()
  pod = lab.netns()
  lab.must('ADD', pod, ADDED, { CNI_ARGS: 'K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-1' })
})
test.after(() => lab.close())

const ADDED = { agent: { idleSeconds: 0 } }
/** A namespace that is not the node's; nothing is made in it. */
const UP = ['up', '--netns', `/proc/${process.pid}/ns/net`]
const run = (...words: string[]) => tunlink(lab, [...words, '--data-dir', lab.dataDir])
/** The fields of the first line of a table under its titles. */
const cells = (stdout: string) => {
  const [titles, line] = stdout.split('\n').map(line => line.split(/\s{2,}/))
  return Object.fromEntries(titles!.map((title, at) => [title, line![at]]))
}

test('ls names the pod, both addresses and the state of a link', () => {
  const [{ addr_info: addresses }] = ip(pod, '-4', 'addr', 'show', 'dev', 'eth0')
  const { status, stdout } = run('ls')
  assert.is(status, 0)
  assert.equal(cells(stdout), {
    POD: 'shop/web-1',
    NETNS: pod,
    IFNAME: 'eth0',
    LOCAL: addresses[0].local,
    PEER: addresses[0].address,
    'FAR-END': 'host',
    WIRE: 'kernel',
    STATE: 'up',
  })
})

test('ls -o wide adds the network, the device and rates', () => {
  const found = cells(run('ls', '-o', 'wide').stdout)
  assert.is(found.NETWORK, 'net')
  assert.match(found.DEVICE!, /^tl[0-9a-f]{13}$/)
  assert.match(found.FROM!, /^\d+ bit\/s \d+ pkt\/s$/)
})

test('ls -o json counts what passes, and measures rates where an interval is given', () => {
  const before = run('ls', '-o', 'json').json[0]
  assert.is(before.rates, undefined)
  assert.ok(pings(pod, before.addresses[0].peer))
  const after = run('ls', '-o', 'json', '--interval', '1').json[0]
  assert.ok(after.fromPod.packets > before.fromPod.packets)
  assert.ok(after.toPod.packets > before.toPod.packets)
  assert.type(after.rates.fromPod.bits, 'number')
})

test('output that cannot be written is an error in words; a reader that stops early is none', () => {
  const into = (target: string) =>
    spawnSync('ip', ['netns', 'exec', lab.node, 'sh', '-c', `"$@" ${target}`, 'sh', lab.executable, 'ls', '--data-dir', lab.dataDir], {
      encoding: 'utf8',
    })
  const full = into('>/dev/full')
  assert.is(full.status, 1)
  assert.match(full.stderr, /^tunlink ls: .*ENOSPC.*\n$/)
  assert.is(into('| true').stderr, '')
})

test('ls tells a link whose device was set down, and one that is deleted', () => {
  const { device } = run('ls', '-o', 'json').json[0]
  ip(lab.node, 'link', 'set', device, 'down')
  assert.is(run('ls', '-o', 'json').json[0].state, 'down')
  ip(lab.node, 'link', 'delete', device)
  assert.is(run('ls', '-o', 'json').json[0].state, 'missing')
  lab.must('DEL', pod)
  lab.must('ADD', pod, ADDED, { CNI_ARGS: 'K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-1' })
  assert.is(run('ls', '-o', 'json').json[0].state, 'up')
})

test('show prints devices, addresses and routes as ip(8) does, and finds no fault', () => {
  const { status, stdout } = run('show', 'web-1')
  assert.is(status, 0, stdout)
  const [{ ifindex }] = ip(pod, 'link', 'show', 'dev', 'eth0')
  const [{ local, address }] = ip(pod, '-4', 'addr', 'show', 'dev', 'eth0')[0].addr_info
  assert.match(stdout, new RegExp(`^ +${ifindex}: eth0: <POINTOPOINT,NOARP,UP`, 'm'))
  assert.match(stdout, new RegExp(`^ +inet ${local} peer ${address}/32$`, 'm'))
  assert.match(stdout, new RegExp(`^ +route default via ${address}$`, 'm'))
  assert.match(stdout, /^CHECK: no fault$/m)
})

test('show tells what CHECK finds, and its exit status is 1', () => {
  ip(pod, 'route', 'delete', 'default')
  const { status, stdout } = run('show', 'web-1')
  assert.is(status, 1)
  assert.match(stdout, /route 0\.0\.0\.0\/0 via \S+ dev eth0 is missing/)
  assert.is(run('show', 'web-1', '-o', 'json').json.faults.length, 1)
})

test('a link is found by any part of its names; a name that is the whole word goes first', () => {
  const [{ local }] = ip(pod, '-4', 'addr', 'show', 'dev', 'eth0')[0].addr_info
  for (const word of ['web', 'shop/web-1', local, pod]) assert.is(run('show', word, '-o', 'json').json.plan.containerID, pod)
  assert.is(run('show', 'net', pod, 'eth0', '-o', 'json').json.plan.containerID, pod)
  assert.is(run('show', `${pod} eth0`, '-o', 'json').json.plan.containerID, pod)
  const other = lab.netns()
  lab.must('ADD', other)
  const both = run('show', 'eth0')
  assert.is(both.status, 3)
  assert.match(
    both.stderr,
    new RegExp(`^tunlink show: "eth0" is 2 links: .*shop/web-1 eth0 .*${other} eth0 .*\\n$|${other} eth0 .*shop/web-1`),
  )
  const none = run('show', 'nothing')
  assert.is(none.status, 3)
  assert.match(none.stderr, /^tunlink show: no link is called "nothing"; there are .*shop\/web-1 eth0.*\n$/)
  lab.must('DEL', other)
})

for (const [words, wire] of [
  [[], 'kernel'],
  [['--wire', 'thread'], 'thread'],
] as const)
  test(`up makes a link by hand that carries packets (${wire}), and down leaves nothing of it`, () => {
    const blue = lab.netns()
    const before = lab.links(lab.node)
    const made = run('up', '--netns', blue, '--local', '10.99.0.1', '--peer', '10.99.0.2', '--route', '192.0.2.0/24', ...words)
    assert.is(made.status, 0, made.stderr)
    const [{ local, address }] = ip(blue, 'addr', 'show', 'dev', 'tun0')[0].addr_info
    assert.equal([local, address], ['10.99.0.1', '10.99.0.2'])
    assert.is(ip(blue, 'route', 'show', '192.0.2.0/24')[0].gateway, '10.99.0.2')
    assert.ok(pings(blue, '10.99.0.2'))
    assert.ok(pings(lab.node, '10.99.0.1'))
    assert.is(run('show', blue).status, 0)
    assert.match(run('up', '--netns', blue, '--local', '10.99.0.3', '--peer', '10.99.0.4').stderr, /has a link tun0 already; "tunlink down/)
    const gone = run('down', blue)
    assert.is(gone.status, 0, gone.stderr)
    assert.equal(lab.links(blue), [])
    assert.equal(lab.links(lab.node), before)
    assert.equal(readdirSync(`${lab.dataDir}/links/by-hand`), [])
  })

test('up with --owner makes a TUN that waits for its user', () => {
  const blue = lab.netns()
  assert.is(run('up', '--netns', blue, '--local', 'fd99::1', '--peer', 'fd99::2', '--owner', '4242').status, 0)
  const [{ linkinfo }] = ip(blue, '-d', 'link', 'show', 'dev', 'tun0')
  assert.is(Number(linkinfo.info_data.user), 4242)
  assert.is(run('show', blue, '-o', 'json').json.state, 'free')
  assert.is(run('down', blue).status, 0)
})

test('an up that fails leaves nothing', () => {
  const blue = lab.netns()
  const failed = run(
    'up',
    '--netns',
    blue,
    '--local',
    '10.99.0.1',
    '--peer',
    '10.99.0.2',
    '--route',
    '10.99.0.2/32',
    '--route',
    '10.99.0.2/32',
  )
  assert.is(failed.status, 1)
  assert.match(failed.stderr, /has such a route already: leave out --route\n$/)
  assert.equal(lab.links(blue), [])
  assert.is(run('show', blue).status, 3)
})

test('of several up of one link at once, one makes it and the others say so; of several down, one removes it', async () => {
  const blue = lab.netns()
  const up = ['up', '--netns', blue, '--local', '10.99.0.1', '--peer', '10.99.0.2', '--data-dir', lab.dataDir]
  const statuses = async (words: string[]) => (await Promise.all([0, 1, 2].map(() => statusOf(words)))).sort()
  for (let round = 0; round < many(3); round++) {
    assert.equal(await statuses(up), [0, 1, 1])
    assert.is(run('show', blue).status, 0)
    assert.equal(await statuses(['down', blue, '--data-dir', lab.dataDir]), [0, 3, 3])
    assert.equal(lab.links(blue), [])
  }
})

const statusOf = (words: string[]) => new Promise<number | null>(done => tunlinkBeside(lab, words).on('close', status => done(status)))

test('an up that the node cannot do says who looks for the reason', () => {
  const withoutTun = ['unshare', '-m', 'sh', '-c', 'mount -t tmpfs none /dev/net && exec "$@"', 'sh']
  const words = [...UP.slice(0, 2), lab.netns(), '--local', '10.99.0.1', '--peer', '10.99.0.2', '--data-dir', lab.dataDir]
  const { status, stderr } = tunlink(lab, words, withoutTun)
  assert.is(status, 1)
  assert.match(stderr, /^tunlink up: .*\/dev\/net\/tun'; "tunlink doctor" looks for the reason\n$/)
})

test('a link whose namespace is gone: show says who removes it, and down does', () => {
  const blue = lab.netns()
  assert.is(run('up', '--netns', blue, '--local', '10.99.0.1', '--peer', '10.99.0.2').status, 0)
  execFileSync('ip', ['netns', 'delete', blue])
  const { status, stdout } = run('show', blue)
  assert.is(status, 1)
  assert.match(stdout, new RegExp(`is gone: "tunlink down ${blue} tun0" removes the record`))
  assert.is(run('down', blue, 'tun0').status, 0)
  assert.is(run('show', blue).status, 3)
})

test('down leaves a container’s link alone', () => {
  const { status, stderr } = run('down', 'web-1')
  assert.is(status, 1)
  assert.match(stderr, /is of the network "net", whose runtime made it; end the pod/)
  assert.equal(lab.podLinks(pod), ['eth0'])
})

for (const [words, error] of [
  [['nonsense'], /^tunlink nonsense: there is no command "nonsense"; "tunlink help" lists them/],
  [['sohw'], /^tunlink sohw: there is no command "sohw"; did you mean "show"\?/],
  [['-o', 'json', 'ls'], /^tunlink -o: there is no command "-o"; options stand behind the command/],
  [['toString'], /there is no command "toString"/],
  [['ls', '--bogus'], /^tunlink ls: Unknown option '--bogus'; "tunlink help ls" says what it takes/],
  [['ls', 'web'], /^tunlink ls: Unexpected argument 'web'; "tunlink help ls" says what it takes/],
  [['ls', '-o', 'xml'], /^tunlink ls: --output must be table or wide or json or name, not "xml"/],
  [['show'], /^tunlink show: LINK is missing; see "tunlink ls"/],
  [['up', '--netns', '/proc/self/ns/net'], /"\/proc\/self\/ns\/net" is the node's own network namespace; name that of a pod/],
  [[...UP, '--local', '10.99.0.1', '--peer', '10.99.0.1'], /--local and --peer are both 10.99.0.1; the far end needs an/],
  [[...UP, '--local', '10.99.0.1', '--peer', 'fd99::2'], /--local 10.99.0.1 has no --peer beside it; give one of IPv4 too/],
  [
    [...UP, '--local', '10.99.0.1', '--peer', '10.99.0.2', '--peer', 'fd99::2'],
    /--peer fd99::2 has no --local beside it; give one of IPv6/,
  ],
  [[...UP, '--local', '10.99.0.1', '--peer', '10.99.0.2', '--mtu', '5'], /--mtu must be from 68 to 65535, not "5"/],
  [[...UP, '--local', '10.99.0.1', '--peer', '10.99.0.2', '--ifname', 'much-too-long-name'], /name is too long.* --ifname is "much-too/],
  [['up', '--netns', '/no/such'], /^tunlink up: there is no network namespace "\/no\/such"; "ip netns" lists/],
  [['up', '--netns', 'no-such'], /^tunlink up: there is no network namespace "no-such"; make it with "ip netns add no-such"/],
  [['agent', '--spin', 'x'], /^tunlink agent: --spin must be a whole number, not "x"/],
  [['agent', '--wire', 'x'], /^tunlink agent: --wire must be io_uring or epoll, not "x"/],
  [['completion', 'fish'], /there is no completion for "fish"; say bash or zsh/],
] as [string[], RegExp][])
  test(`"tunlink ${words.join(' ')}" is an error of one line, with status 2`, () => {
    const { status, stdout, stderr } = tunlink(lab, words)
    assert.is(status, 2)
    assert.is(stdout, '')
    assert.match(stderr, error)
    assert.is(stderr.split('\n').length, 2)
  })

test('help is for each command, within 100 columns', async () => {
  const overview = tunlink(lab, ['help']).stdout
  assert.equal(
    [...overview.matchAll(/^ {2}tunlink (\w+)/gm)].map(([, name]) => name),
    Object.keys(COMMANDS),
  )
  assert.match(tunlink(lab, ['ls', '--help']).stdout, /^tunlink ls .*\n\nLists the links/)
  for (const [name, { load }] of Object.entries(COMMANDS)) {
    const { command } = await load()
    assert.ok(describe(command).startsWith(`tunlink ${name}`))
    for (const line of [command.usage, ...command.about.split('\n')]) assert.ok(line.length <= 100, `${name}: ${line}`)
  }
})

test('a reader that stops is no error', () => {
  const command = `set -o pipefail; ${lab.executable} help | true; echo "$?"`
  assert.is(inside(lab.node, 'bash', '--norc', '-c', command), '0\n')
})

test('who is not root is told', () => {
  const { status, stderr } = tunlink(lab, ['ls', '--data-dir', lab.dataDir], ['setpriv', '--reuid', '65534', '--clear-groups'])
  assert.is(status, 1)
  assert.match(stderr, /^tunlink ls: EACCES.*; run it as root\n$/)
})

test('up takes a process ID for a namespace', async () => {
  const blue = lab.netns()
  const sleeper = spawn('ip', ['netns', 'exec', blue, 'sleep', '60'], { stdio: 'ignore' })
  try {
    const isThere = () => statSync(`/proc/${sleeper.pid}/ns/net`).ino === statSync(`/run/netns/${blue}`).ino
    await eventually('the process is in the namespace', isThere)
    assert.is(run('up', '--netns', String(sleeper.pid), '--local', '10.99.0.1', '--peer', '10.99.0.2').status, 0)
    assert.equal(lab.podLinks(blue), ['tun0'])
    assert.is(run('down', `proc-${sleeper.pid}-ns-net`).status, 0)
  } finally {
    sleeper.kill()
  }
})

test('colour is for terminals', () => {
  assert.not(run('ls').stdout.includes('\x1b'))
  const command = `${lab.executable} ls --data-dir ${lab.dataDir}`
  assert.ok(inside(lab.node, 'script', '-qec', command, '/dev/null').includes('\x1b[1mPOD'))
})

test.run()
