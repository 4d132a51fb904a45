/**
 * The node's firewall for links: pods send from their own addresses only, and what somebody has
 * flushed comes back.
 */
import { spawnSync } from 'node:child_process'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { EXECUTABLES, eventually, inside, ip, Lab, pings, some } from '../support.ts'

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

/** Sends one UDP datagram with this source address, of which the pod has none, to `to`. */
function spoof(pod: string, from: string, to: string): void {
  const family = from.includes(':') ? 6 : 4
  // A raw socket: the kernel takes whatever source it is given, 0.0.0.0 and :: too.
  const program = `
import socket, struct
def bytes_of(text): return socket.inet_pton(socket.AF_INET6 if ':' in text else socket.AF_INET, text)
payload = struct.pack('!HHHH', 5555, 9, 12, 0) + b'spam'
if ${family} == 4:
    header = struct.pack('!BBHHHBBH', 0x45, 0, 32, 0, 0, 64, 17, 0) + bytes_of('${from}') + bytes_of('${to}')
    total = sum(struct.unpack('!10H', header)); total = (total >> 16) + (total & 0xffff); total += total >> 16
    packet = header[:10] + struct.pack('!H', ~total & 0xffff) + header[12:] + payload
else:
    packet = struct.pack('!IHBB', 6 << 28, len(payload), 17, 64) + bytes_of('${from}') + bytes_of('${to}') + payload
s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)
s.sendto(packet, ('eth0', ${family === 4 ? '0x0800' : '0x86dd'}))`
  inside(pod, 'python3', '-c', program)
}

/** Counts, in a table of its own, what comes to the node and what it forwards. */
function count(lab: Lab): void {
  const rules = `add table inet seen
add chain inet seen came { type filter hook prerouting priority -400; }
add rule inet seen came udp dport 9 counter
add chain inet seen passed { type filter hook prerouting priority 0; }
add rule inet seen passed udp dport 9 counter`
  for (const rule of rules.split('\n')) inside(lab.node, 'nft', rule)
}
const counted = (lab: Lab, chain: string) =>
  Number(inside(lab.node, 'nft', 'list', 'chain', 'inet', 'seen', chain).match(/packets (\d+)/)![1])

const SOURCES4 = ['198.51.100.7', '10.66.0.254', '127.0.0.1', '0.0.0.0', '255.255.255.255', '224.0.0.1', '169.254.1.1', '203.0.113.1']
const SOURCES6 = ['2001:db8::7', 'fd66::dead', '::', 'fe80::7', '::ffff:10.66.0.9', 'fc00::1']

for (const rpFilter of some(['0', '1', '2'], 1)) {
  test(`all.rp_filter ${rpFilter}: no forged source passes, of either family, by either wire; a table that was flushed is restored first`, async () => {
    const lab = new Lab()
    try {
      inside(lab.node, 'sysctl', '-qw', `net.ipv4.conf.all.rp_filter=${rpFilter}`, `net.ipv4.conf.default.rp_filter=${rpFilter}`)
      inside(lab.node, 'ip', 'route', 'add', 'default', 'dev', 'lo')
      for (const wire of ['kernel', 'thread']) {
        const pod = lab.netns()
        const [own4, own6] = lab
          .must('ADD', pod, { ...dual, wire })
          .json.ips.map((one: { address: string }) => one.address.replace(/\/.*/, ''))
        const node = ip(lab.node, 'link').at(-1).ifname
        inside(lab.node, 'sysctl', '-qw', `net.ipv4.conf.${node}.rp_filter=${rpFilter}`)
        inside(lab.node, 'nft', 'flush', 'ruleset')
        await eventually('the agent has restored the table', () => elements(lab, 'links')?.includes(node) === true)
        count(lab)
        for (const [own, sources, far] of [
          [own4, some(SOURCES4, 2), '192.0.2.9'],
          [own6, some(SOURCES6, 2), '2001:db8:9::9'],
        ] as const) {
          spoof(pod, own, far)
          await eventually('the own source passes', () => counted(lab, 'passed') > 0)
          for (const source of sources) {
            const before = { came: counted(lab, 'came'), passed: counted(lab, 'passed') }
            spoof(pod, source, far)
            await eventually(`what is from ${source} comes to the node`, () => counted(lab, 'came') > before.came)
            assert.is(counted(lab, 'passed'), before.passed, `${source} passes by the ${wire} wire`)
          }
        }
        lab.must('DEL', pod, { ...dual, wire })
      }
    } finally {
      lab.close()
    }
  })
}

for (const [name, executable] of EXECUTABLES) {
  test(`${name}: a flushed ruleset is restored by the agent for all links`, async () => {
    const lab = new Lab(executable)
    try {
      const pods = [lab.netns(), lab.netns()]
      for (const pod of pods) lab.must('ADD', pod, dual)
      await eventually('the agent serves', () => lab.run({ CNI_COMMAND: undefined }, '').status === 0 && lab.agentPid() !== undefined)
      await eventually('all is there', () => elements(lab, 'links')?.length === 2)
      inside(lab.node, 'nft', 'flush', 'ruleset')
      await eventually('the table is back', () => elements(lab, 'links')?.length === 2 && elements(lab, 'masq6')?.length === 2)
      for (const pod of pods) lab.must('DEL', pod, dual)
      assert.equal([elements(lab, 'links'), elements(lab, 'masq4'), elements(lab, 'masq6')], [[], [], []])
      await eventually('the agent ends', () => lab.agentPid() === undefined)
    } finally {
      lab.close()
    }
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
    const lab = new Lab()
    try {
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
    } finally {
      lab.close()
    }
  })
}

test('an uplink whose name begins like our devices is masqueraded', () => {
  const lab = new Lab()
  try {
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
  } finally {
    lab.close()
  }
})

test.run()
