/**
 * The table `inet tunlink` without any link of tunlink: veth pairs made by hand, and what nft(8)
 * says.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { EXECUTABLES, eventually, inside, Lab, pings, some } from '../support.ts'
import { type Packet, seen, sendAll, text, watch } from './forged.ts'

const test = suite('firewall table')
const CALLS = join(import.meta.dirname, 'firewall-calls.ts')
const LINK = 'tl0123456789abc'
const OTHER = 'tlfedcba9876543'

/**
 * One process for all calls: it enters the namespace for each. To start one each time would be most
 * of the time.
 */
const server = spawn(process.execPath, [CALLS, 'serve'], { stdio: ['pipe', 'pipe', 'inherit'] })
const answers = createInterface({ input: server.stdout })[Symbol.asyncIterator]()
test.after(() => void server.stdin.end())

async function calls(request: object): Promise<unknown> {
  server.stdin.write(`${JSON.stringify(request)}\n`)
  const { result, error } = JSON.parse((await answers.next()).value ?? '{"error":"the process of the calls has ended"}')
  if (error !== undefined) throw new Error(error)
  return result
}

/** A node's namespace, and records as firewall-calls.ts reads them. */
class Node {
  readonly lab = new Lab()
  readonly netns = this.lab.node
  readonly records = mkdtempSync(join(tmpdir(), 'tunlink-firewall-'))

  record(link: string, ...masquerade: string[]): void {
    writeFileSync(join(this.records, link), JSON.stringify({ link, masquerade }))
  }
  arguments(call: string, link = ''): string[] {
    return [process.execPath, CALLS, call, link, this.records]
  }
  // biome-ignore lint/suspicious/noExplicitAny: whatever the call returned
  async call(call: string, link?: string): Promise<any> {
    return calls({ netns: this.netns, call, link, directory: this.records })
  }
  nft(script: string): void {
    execFileSync('ip', ['netns', 'exec', this.netns, 'nft', '-f', '-'], { input: script })
  }
  /** Elements of a set, as nft prints them; undefined when there is no such set. */
  elements(set: string): string[] | undefined {
    const { status, stdout } = spawnSync('ip', ['netns', 'exec', this.netns, 'nft', '-j', 'list', 'set', 'inet', 'tunlink', set])
    return status === 0 ? (JSON.parse(stdout.toString()).nftables[1].set.elem ?? []).sort() : undefined
  }
  [Symbol.dispose](): void {
    this.lab.close()
    rmSync(this.records, { recursive: true })
  }
}

/** A pod with 10.66.0.2 and fd66::2, by a veth pair without MAC traffic; its namespace. */
function pod(node: Node, link = LINK, end = 2): string {
  const netns = node.lab.netns()
  inside(node.netns, 'ip', 'link', 'add', link, 'address', '02:74:00:00:00:01', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', netns)
  for (const [where, device, local, peer] of [
    [node.netns, link, 1, end],
    [netns, 'eth0', end, 1],
  ] as const) {
    inside(where, 'ip', 'link', 'set', device, 'arp', 'off', 'addrgenmode', 'none')
    inside(where, 'ip', 'link', 'set', device, 'up')
    inside(where, 'ip', 'addr', 'add', `10.66.0.${local}`, 'peer', `10.66.0.${peer}`, 'dev', device)
    inside(where, 'ip', 'addr', 'add', `fd66::${local}`, 'peer', `fd66::${peer}`, 'dev', device, 'nodad')
  }
  // Without ARP a veth fills in its own MAC as the destination: the two ends have the same one.
  inside(netns, 'ip', 'link', 'set', 'eth0', 'address', '02:74:00:00:00:01')
  for (const family of ['-4', '-6']) inside(netns, 'ip', family, 'route', 'add', 'default', 'dev', 'eth0')
  return netns
}

const OUTSIDE = { 4: '192.0.2.9', 6: '2001:db8:9::9' }
const OWN: Packet[] = [
  ['10.66.0.2', OUTSIDE[4]],
  ['fd66::2', OUTSIDE[6]],
]
const FORGED: Packet[] = [
  ...['198.51.100.7', '10.66.0.1', '10.66.0.3', '127.0.0.1', '0.0.0.0', '0.1.2.3', '255.255.255.255', '224.0.0.1', '169.254.1.1'].map(
    (source): Packet => [source, OUTSIDE[4]],
  ),
  ...['2001:db8::7', 'fd66::1', 'fd66::3', '::', 'fe80::7', '::ffff:10.66.0.9'].map((source): Packet => [source, OUTSIDE[6]]),
  ['0.0.0.0', '255.255.255.255'], // fib lets these pass: a DHCP client begins so
  ['0.0.0.0', '224.0.0.1'],
  ['::', 'ff02::1'], // and duplicate address detection so
]

for (const rpFilter of some(['0', '1', '2'], 1)) {
  test(`rp_filter ${rpFilter}: a pod sends from its own addresses only, after a flush and ensureFirewall() too`, async () => {
    using node = new Node()
    const from = pod(node)
    // Loose checks take whatever has a route: everything has.
    inside(node.netns, 'ip', 'link', 'add', 'up0', 'type', 'veth', 'peer', 'name', 'far0', 'netns', node.lab.netns())
    inside(node.netns, 'ip', 'link', 'set', 'up0', 'up')
    for (const family of ['-4', '-6']) inside(node.netns, 'ip', family, 'route', 'add', 'default', 'dev', 'up0')
    for (const name of ['all', LINK]) inside(node.netns, 'sysctl', '-qw', `net.ipv4.conf.${name}.rp_filter=${rpFilter}`)
    node.record(LINK)
    const packets = [...FORGED, ...OWN]
    watch(node.netns, LINK)
    await sendAll(from, node.netns, packets)
    await eventually('without the table everything passes', () => seen(node.netns, 'passed').length === packets.length)
    for (const what of ['made', 'restored']) {
      node.nft('flush ruleset')
      assert.is(await node.call('ensure'), true)
      watch(node.netns, LINK)
      await sendAll(from, node.netns, packets)
      assert.equal(seen(node.netns, 'came'), packets.map(text).sort())
      assert.equal(seen(node.netns, 'passed'), OWN.map(text).sort(), what)
    }
  })
}

test('what a pod sends by an uplink called tlan0 is masqueraded, and what it sends to another link is not', async () => {
  using node = new Node()
  const [one, two, outside] = [pod(node, LINK, 2), pod(node, OTHER, 3), node.lab.netns()]
  inside(node.netns, 'ip', 'link', 'add', 'tlan0', 'type', 'veth', 'peer', 'name', 'up0', 'netns', outside)
  for (const [netns, device, end] of [
    [node.netns, 'tlan0', 1],
    [outside, 'up0', 2],
  ] as const) {
    inside(netns, 'ip', 'addr', 'add', `192.0.2.${end}/24`, 'dev', device)
    inside(netns, 'ip', 'addr', 'add', `2001:db8::${end}/64`, 'dev', device, 'nodad')
    inside(netns, 'ip', 'link', 'set', device, 'up')
  }
  inside(node.netns, 'sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1')
  node.record(LINK, '10.66.0.2', 'fd66::2')
  node.record(OTHER)
  for (const link of [LINK, OTHER]) await node.call('add', link)
  for (const far of ['192.0.2.2', '2001:db8::2']) {
    assert.ok(pings(one, far), `${far} answers`)
    assert.not.ok(pings(two, far), `${far} has no way back to a pod without masquerade`)
  }
  // The other pod sees who asks: its own table lets in the pod's address alone.
  inside(two, 'nft', 'add table inet own; add chain inet own in { type filter hook input priority 0; policy drop; }')
  inside(two, 'nft', 'add rule inet own in ip saddr 10.66.0.2 accept; add rule inet own in ip6 saddr fd66::2 accept')
  for (const far of ['10.66.0.3', 'fd66::3']) assert.ok(pings(one, far), `${far} answers`)
})

/** As tunlink 0.1.0 made it, with a pod of it. */
const OLD_TABLE = `table inet tunlink {
  set masq4 { type ipv4_addr; elements = { 10.66.0.2 } }
  set masq6 { type ipv6_addr; }
  chain prerouting {
    type filter hook prerouting priority raw; policy accept
    meta nfproto ipv6 iifname "tl*" fib saddr . iif oif missing drop
  }
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept
    meta nfproto ipv4 ip saddr @masq4 ip daddr != @masq4 oifname != "tl*" masquerade
    meta nfproto ipv6 ip6 saddr @masq6 ip6 daddr != @masq6 oifname != "tl*" masquerade
  }
}`

/** `names`: what firewallFaults() says of it. */
const DAMAGES: [what: string, script: string, names: RegExp, state?: string][] = [
  ['flushed', 'flush ruleset', /table inet tunlink is missing/, 'missing'],
  ['of 0.1.0', `flush ruleset\n${OLD_TABLE}`, /set "links" .* is missing.*rules of the chain "prerouting" .* were changed/],
  ['emptied of rules', 'flush table inet tunlink', /rules of the chain "prerouting" .* were changed.*"postrouting" .* were changed/],
  ['with a rule before ours', 'insert rule inet tunlink prerouting accept', /rules of the chain "prerouting" .* were changed/],
  [
    'with a rule replaced',
    'replace rule inet tunlink prerouting handle HANDLE iifname != @links drop',
    /rules of the chain "prerouting" .* were changed/,
  ],
  [
    'whose rule tests the opposite',
    'replace rule inet tunlink prerouting handle HANDLE iifname @links accept',
    /rules of the chain "prerouting" .* were changed/,
  ],
  ['without the chain that masquerades', 'delete chain inet tunlink postrouting', /chain "postrouting" .* is missing/],
  [
    'without the chain that checks sources',
    'flush chain inet tunlink prerouting; delete chain inet tunlink prerouting',
    /chain "prerouting" .* is missing/,
  ],
  ['without a set', 'flush chain inet tunlink postrouting; delete set inet tunlink masq6', /set "masq6" .* is missing/],
  [
    'with another set in the place of ours',
    'flush chain inet tunlink postrouting; delete set inet tunlink masq4; add set inet tunlink masq4 { type mark; }',
    /set "masq4" .* was changed/,
  ],
]
/** What only a whole comparison sees, so the agent and CHECK, but not an ADD. */
const HIDDEN: typeof DAMAGES = [
  ['switched off', 'add table inet tunlink { flags dormant; }', /table inet tunlink is switched off \(dormant\)/],
  ['whose chain has the policy drop', 'add chain inet tunlink prerouting { policy drop; }', /chain "prerouting" .* was changed/],
]

for (const [what, script, names, state = 'different'] of [...some(DAMAGES, 3), ...HIDDEN]) {
  test(`a table ${what} is ${state}, and made anew for all links`, async () => {
    using node = new Node()
    node.record(LINK, '10.66.0.2', 'fd66::2')
    node.record(OTHER, '10.66.0.3')
    for (const link of [LINK, OTHER]) await node.call('add', link)
    const whole = () => [node.elements('links'), node.elements('masq4'), node.elements('masq6')]
    const before = whole()
    assert.equal(before, [[LINK, OTHER], ['10.66.0.2', '10.66.0.3'], ['fd66::2']])
    const damage = async () => {
      const { nftables } = JSON.parse(inside(node.netns, 'nft', '-j', '-a', 'list', 'table', 'inet', 'tunlink'))
      node.nft(script.replace('HANDLE', nftables.find((item: { rule?: object }) => item.rule).rule.handle))
      assert.is(await node.call('state'), state)
      assert.match((await node.call('faults', LINK)).join('; '), names)
    }
    await damage()
    assert.is(await node.call('ensure'), true)
    assert.is(await node.call('ensure'), false)
    assert.equal(whole(), before)
    assert.equal(await node.call('faults', LINK), [])
    if (HIDDEN.some(([hidden]) => hidden === what)) return
    await damage()
    await node.call('add', OTHER)
    assert.equal([await node.call('state'), whole()], ['ok', before])
    await damage()
    await node.call('remove', OTHER)
    assert.equal([await node.call('state'), whole()], ['ok', [[LINK], ['10.66.0.2'], ['fd66::2']]])
  })
}

test('removeFromFirewall() takes what is missing for removed, and firewallFaults() names it', async () => {
  using node = new Node()
  node.record(LINK, '10.66.0.2')
  await node.call('remove', LINK)
  assert.is(node.elements('links'), undefined, 'no table is made for nobody')
  await node.call('add', LINK)
  node.nft('delete element inet tunlink masq4 { 10.66.0.2 }')
  const masquerade = '10.66.0.2 is not masqueraded: it is not in the set "masq4" of the nftables table inet tunlink'
  assert.equal(await node.call('faults', LINK), [masquerade])
  assert.is(await node.call('ensure'), true)
  node.nft(`delete element inet tunlink links { "${LINK}" }`)
  assert.match((await node.call('faults', LINK)).join(), `by "${LINK}" are not checked`)
  for (let times = 0; times < 2; times++) await node.call('remove', LINK)
  assert.equal([node.elements('links'), node.elements('masq4')], [[], []])
  for (let times = 0; times < 2; times++) await node.call('delete')
  assert.is(await node.call('state'), 'missing')
})

test('two processes find no table, and the first has read the records before the second wrote its own: neither link is forgotten', async () => {
  using node = new Node()
  node.record(LINK)
  const slow = spawn('ip', ['netns', 'exec', node.netns, ...node.arguments('addSlowly', LINK)], { stdio: ['pipe', 'pipe', 'inherit'] })
  const ended = new Promise(resolve => slow.on('exit', resolve))
  let said = ''
  slow.stdout.on('data', chunk => (said += chunk))
  await eventually('it has read the records', () => said.includes('read'))
  node.record(OTHER)
  await node.call('add', OTHER)
  slow.stdin.end()
  assert.is(await ended, 0)
  assert.equal(node.elements('links'), [LINK, OTHER])
})

for (const [name, command] of [
  ['Node', [process.execPath]],
  ['Bun', ['env', 'BUN_BE_BUN=1', EXECUTABLES[0]![1]]],
] as const) {
  test(`${name}: watchFirewall() tells of what others do to the table, and keeps no process`, async () => {
    using node = new Node()
    node.record(LINK)
    await node.call('add', LINK)
    const child = spawn('ip', ['netns', 'exec', node.netns, ...command, CALLS, 'watch'], { stdio: ['pipe', 'pipe', 'inherit'] })
    let lines: string[] = []
    child.stdout.on('data', chunk => lines.push(...chunk.toString().trim().split('\n')))
    const ended = new Promise(resolve => child.on('exit', resolve))
    await eventually('it watches', () => lines.includes('watches'))
    lines = []
    node.nft('add table inet other; delete table inet other')
    node.nft(`delete element inet tunlink links { "${LINK}" }`)
    await new Promise(resolve => setTimeout(resolve, 500))
    assert.equal(lines, [], 'another table, and elements')
    for (const change of ['flush chain inet tunlink prerouting', 'delete table inet tunlink', 'add table inet tunlink', 'flush ruleset']) {
      node.nft(change)
      await eventually(change, () => lines.length > 0)
      await new Promise(resolve => setTimeout(resolve, 200))
      assert.equal(lines, ['changed'])
      lines = []
    }
    child.stdin.end()
    assert.is(await ended, 0)
    assert.equal(lines, ['ends'])
  })

  test(`${name}: watchFirewall() tells of a row of changes once`, async () => {
    using node = new Node()
    node.record(LINK)
    assert.is(JSON.parse(inside(node.netns, ...command, CALLS, 'burst', LINK, node.records)), 1)
  })
}

test('the chain that has the kernel track connections comes with the first address to masquerade', async () => {
  using node = new Node()
  node.record(LINK)
  const chains = () => inside(node.netns, 'nft', 'list', 'chains', 'inet').match(/(?<=chain )\w+/g)
  await node.call('add', LINK)
  assert.equal(chains(), ['prerouting'])
  assert.equal(await node.call('faults', LINK), [])
  node.record(OTHER, '10.66.0.3')
  await node.call('add', OTHER)
  assert.equal(chains(), ['prerouting', 'postrouting'])
  assert.equal([node.elements('links'), node.elements('masq4')], [[LINK, OTHER], ['10.66.0.3']])
  await node.call('remove', OTHER)
  assert.equal([await node.call('state'), chains()], ['ok', ['prerouting', 'postrouting']])
})

test('firewallRefusal() says why: undefined where the table can be made, and nothing is made', async () => {
  using node = new Node()
  assert.is(await node.call('refusal'), null)
  assert.is(inside(node.netns, 'nft', 'list', 'ruleset'), '')
  const without = inside(node.netns, 'setpriv', '--bounding-set=-net_admin', '--inh-caps=-net_admin', ...node.arguments('refusal'))
  assert.match(without, /EPERM.*CAP_NET_ADMIN/)
})

test.run()
