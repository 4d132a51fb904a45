/**
 * The node's firewall for links: pods send from their own addresses only, and what somebody has
 * flushed comes back.
 */
import { spawnSync } from 'node:child_process'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { EXECUTABLES, eventually, inside, Lab, pings, some } from '../support.ts'
import { type Packet, seen, sendAll, text, watch } from './forged.ts'

const test = suite('firewall')
const dual = { ipMasq: true, ipam: { type: 'tunlink', ranges: [[{ subnet: '10.66.0.0/24' }], [{ subnet: 'fd66::/64' }]] } }
const alone = { ...dual, agent: { spawn: false } }

/** Elements of a set of the table; undefined when it is not there. */
function elements(lab: Lab, set: string): string[] | undefined {
  const { status, stdout } = spawnSync('ip', ['netns', 'exec', lab.node, 'nft', '-j', 'list', 'set', 'inet', 'tunlink', set], {
    encoding: 'utf8',
  })
  return status === 0 ? (JSON.parse(stdout).nftables[1].set.elem ?? []) : undefined
}

/**
 * What a pod may send, and 33 sources that it has no right to, each to somewhere beyond the node.
 */
const FAR = { 4: '192.0.2.9', 6: '2001:db8:9::9' }
const FORGED: Packet[] = [
  ...[
    ['198.51.100.7', '10.66.0.254', '10.66.0.1', '10.66.0.99', '127.0.0.1', '127.255.255.254', '0.0.0.0', '0.1.2.3', '255.255.255.255'],
    ['224.0.0.1', '239.255.255.250', '240.0.0.1', '169.254.1.1', '169.254.169.254', '203.0.113.1', FAR[4], '10.0.0.1'],
  ]
    .flat()
    .map((source): Packet => [source, FAR[4]]),
  ...[
    ['2001:db8::7', 'fd66::dead', 'fd66::1', '::', '::1', 'fe80::7', 'fe80::1', '::ffff:10.66.0.9', '::ffff:127.0.0.1', 'fc00::1'],
    ['ff02::1', 'ff05::2', '64:ff9b::1', FAR[6]],
  ]
    .flat()
    .map((source): Packet => [source, FAR[6]]),
  ['0.0.0.0', '255.255.255.255'], // a DHCP client begins so
  ['::', 'ff02::1'], // and duplicate address detection so
]

for (const rpFilter of some(['0', '1', '2'], 1)) {
  test(`all.rp_filter ${rpFilter}: none of ${FORGED.length} forged sources passes, by either wire; a table that was flushed is restored first`, async () => {
    using lab = new Lab()
    inside(lab.node, 'sysctl', '-qw', `net.ipv4.conf.all.rp_filter=${rpFilter}`, `net.ipv4.conf.default.rp_filter=${rpFilter}`)
    inside(lab.node, 'ip', 'route', 'add', 'default', 'dev', 'lo')
    for (const wire of ['kernel', 'thread']) {
      const pod = lab.netns()
      const { interfaces, ips } = lab.must('ADD', pod, { ...dual, wire }).json
      const node = interfaces[0].name
      const own = ips.map(({ address }: { address: string }) => address.replace(/\/.*/, ''))
      inside(lab.node, 'sysctl', '-qw', `net.ipv4.conf.${node}.rp_filter=${rpFilter}`)
      inside(lab.node, 'nft', 'flush', 'ruleset')
      await eventually('the agent has restored the table', () => elements(lab, 'links')?.includes(node) === true)
      watch(lab.node, node)
      const right: Packet[] = [
        [own[0], FAR[4]],
        [own[1], FAR[6]],
      ]
      const all = [...FORGED, ...right]
      await sendAll(pod, lab.node, all)
      assert.equal(seen(lab.node, 'came'), all.map(text).sort(), wire)
      await eventually('the own sources pass', () => seen(lab.node, 'passed').length >= right.length)
      assert.equal(seen(lab.node, 'passed'), right.map(text).sort(), wire)
      lab.must('DEL', pod, { ...dual, wire })
    }
  })
}

for (const [name, executable] of EXECUTABLES) {
  test(`${name}: a flushed ruleset is restored by the agent for all links`, async () => {
    using lab = new Lab(executable)
    const pods = [lab.netns(), lab.netns()]
    for (const pod of pods) lab.must('ADD', pod, dual)
    await eventually('the agent serves', () => lab.run({ CNI_COMMAND: undefined }, '').status === 0 && lab.agentPid() !== undefined)
    await eventually('all is there', () => elements(lab, 'links')?.length === 2)
    inside(lab.node, 'nft', 'flush', 'ruleset')
    await eventually('the table is back', () => elements(lab, 'links')?.length === 2 && elements(lab, 'masq6')?.length === 2)
    for (const pod of pods) lab.must('DEL', pod, dual)
    assert.equal([elements(lab, 'links'), elements(lab, 'masq4'), elements(lab, 'masq6')], [[], [], []])
    await eventually('the agent ends', () => lab.agentPid() === undefined)
  })
}

/** As tunlink 0.1.0 made it. */
const OLD_TABLE = `table inet tunlink {
  set masq4 { type ipv4_addr; }
  set masq6 { type ipv6_addr; }
  chain prerouting { type filter hook prerouting priority raw; policy accept; meta nfproto ipv6 iifname "tl*" fib saddr . iif oif missing drop; }
  chain postrouting { type nat hook postrouting priority srcnat; policy accept; ip saddr @masq4 ip daddr != @masq4 oifname != "tl*" masquerade; }
}`

for (const [what, damage] of some(
  [
    ['flushed', 'flush ruleset'],
    ['of 0.1.0', `flush ruleset\n${OLD_TABLE}`],
    ['without its rules', 'flush chain inet tunlink prerouting'],
    ['with a rule of somebody else', 'insert rule inet tunlink prerouting accept'],
  ] as const,
  2,
)) {
  test(`without an agent: a table ${what} is restored for all links by the next ADD, and by the next DEL`, () => {
    using lab = new Lab()
    const [one, two, three] = [lab.netns(), lab.netns(), lab.netns()]
    const { json } = lab.must('ADD', one, alone)
    const broken = () => spawnSync('ip', ['netns', 'exec', lab.node, 'nft', '-f', '-'], { input: damage })
    broken()
    assert.is(lab.cni('CHECK', one, { ...alone, prevResult: json }).status, 1)
    lab.must('ADD', two, alone)
    lab.must('CHECK', one, { ...alone, prevResult: json })
    assert.equal([elements(lab, 'links')!.length, elements(lab, 'masq4')!.length], [2, 2])
    lab.must('ADD', three, alone)
    broken()
    lab.must('DEL', three, alone)
    lab.must('CHECK', one, { ...alone, prevResult: json })
    assert.equal([elements(lab, 'links')!.length, elements(lab, 'masq6')!.length], [2, 2])
  })
}

test('an uplink whose name begins like our devices is masqueraded', () => {
  using lab = new Lab()
  const [pod, outside] = [lab.netns(), lab.netns()]
  inside(lab.node, 'ip', 'link', 'add', 'tlan0', 'type', 'veth', 'peer', 'name', 'up0', 'netns', outside)
  for (const [netns, device, address] of [
    [lab.node, 'tlan0', '192.0.2.1/24'],
    [outside, 'up0', '192.0.2.2/24'],
  ] as const) {
    inside(netns, 'ip', 'addr', 'add', address, 'dev', device)
    inside(netns, 'ip', 'link', 'set', device, 'up')
  }
  lab.must('ADD', pod, alone)
  assert.ok(pings(pod, '192.0.2.2'))
})

test.run()
