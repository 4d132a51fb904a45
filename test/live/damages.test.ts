/**
 * Every sentence of CHECK, provoked: something is broken, and CHECK fails with words that name it.
 * Each wire has its own parts, and what it shares with others. What is lost on disk is in
 * test/reliability/truth.test.ts, a limited rate in bandwidth.test.ts.
 */
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { output, program, start } from '../processes.ts'
import { eventually, inside, Lab, some } from '../support.ts'

const test = suite('damages')

/**
 * What is broken, by a command in the pod, on the node or outside of both, and what CHECK says of
 * it. TL is the name of the node's end, POD the pod's namespace, POD4 and POD6 its addresses, AGENT
 * the process.
 */
type Damage = [what: string, where: 'pod' | 'node' | 'machine', command: string, expected: RegExp]

const IN_EVERY_POD: Damage[] = [
  ['eth0 down', 'pod', 'ip link set eth0 down', /eth0 lacks the flag UP/],
  ['eth0 renamed', 'pod', 'ip link set eth0 down; ip link set eth0 name eth9', /link eth0 is missing/],
  ['ARP on eth0', 'pod', 'ip link set eth0 arp on', /eth0 lacks the flag NOARP/],
  ['a TAP in the place of eth0', 'pod', 'ip link del eth0; ip tuntap add eth0 mode tap', /eth0 is not a TUN .*lacks the flag POINTOPOINT/],
  ['a veth in the place of eth0', 'pod', 'ip link del eth0; ip link add eth0 type veth', /link eth0 is not a TUN device/],
  ['a smaller MTU of eth0', 'pod', 'ip link set eth0 mtu 1300', /eth0 has mtu 1300, not 1500/],
  ['the alias of eth0', 'pod', 'ip link set eth0 alias other', /link eth0 has the alias "other"/],
  ['the pod’s address', 'pod', 'ip -4 addr flush dev eth0', /eth0 lacks the address 10\.66\.0\.\d+ peer 10\.66\.0\.1/],
  ['the pod’s IPv6 address', 'pod', 'ip -6 addr del POD6 dev eth0', /eth0 lacks the address fd66::\S+ peer fd66::1/],
  ['the pod’s default route', 'pod', 'ip route del default', /route 0.0.0.0\/0 via 10.66.0.1 dev eth0 is missing/],
  ['the kernel’s peer route in the pod', 'pod', 'ip route del default; ip route del 10.66.0.1 dev eth0', /route 10.66.0.1\/32 dev eth0/],
  [
    'another namespace',
    'machine',
    'ip netns del POD; ip netns add POD',
    /POD is another network namespace than the one that ADD was given/,
  ],
  ['the namespace gone', 'machine', 'ip netns del POD', /no such file or directory, open '\/run\/netns\/POD'/],
]

/** Of links whose far end is the node. */
const ON_THE_NODE: Damage[] = [
  ['the node’s end gone', 'node', 'ip link del TL', /node's end tl.* is missing/],
  ['the node’s end renamed', 'node', 'ip link set TL down; ip link set TL name other', /node's end tl.* is missing/],
  ['the alias of the node’s end', 'node', 'ip link set TL alias other', /node's end tl.* has the alias "other"/],
  ['the node’s address', 'node', 'ip addr del 10.66.0.1 peer POD4 dev TL', /link tl.* lacks the address 10\.66\.0\.1 peer 10\.66\.0\.\d+/],
  ['the node’s IPv6 address', 'node', 'ip -6 addr del fd66::1 peer POD6 dev TL', /link tl.* lacks the address fd66::1 peer fd66::\S+/],
  ['the kernel’s peer route on the node', 'node', 'ip route del POD4 dev TL', /route 10.66.0.\d+\/32 dev tl.* is missing/],
  ['the IPv6 peer route on the node', 'node', 'ip -6 route del POD6 dev TL', /route fd66:.*\/128 dev tl.* is missing/],
  ['forwarding', 'node', 'sysctl -qw net.ipv4.ip_forward=0', /ip_forward is 0/],
  ['forwarding of the device', 'node', 'sysctl -qw net.ipv4.conf.TL.forwarding=0', /ipv4.conf.tl.*.forwarding is 0/],
  ['IPv6 forwarding', 'node', 'sysctl -qw net.ipv6.conf.all.forwarding=0', /ipv6.conf.all.forwarding is 0/],
  ['IPv6 forwarding of the device', 'node', 'sysctl -qw net.ipv6.conf.TL.forwarding=0', /ipv6.conf.tl.*.forwarding is 0/],
  ['rp_filter', 'node', 'sysctl -qw net.ipv4.conf.TL.rp_filter=0', /rp_filter is 0/],
  ['router advertisements', 'node', 'sysctl -qw net.ipv6.conf.TL.accept_ra=2', /accept_ra is 2/],
  ['the source check', 'node', 'nft delete element inet tunlink links { "TL" }', /source addresses of what comes in by .* are not checked/],
  ['the masquerade element', 'node', 'nft delete element inet tunlink masq4 { POD4 }', /10\.66\.0\.\d+ is not masqueraded/],
  ['the IPv6 masquerade element', 'node', 'nft delete element inet tunlink masq6 { POD6 }', /fd66::\S+ is not masqueraded/],
]

const OF_THE_KERNEL_WIRE: Damage[] = [
  ['the qdisc of eth0', 'pod', 'tc qdisc del dev eth0 clsact', /qdisc clsact of eth0 is missing/],
  ['the qdisc of the veth', 'pod', 'tc qdisc del dev TL clsact', /qdisc clsact of tl.* is missing/],
  ['the filter of eth0', 'pod', 'tc filter del dev eth0 egress', /filter tunlink_out of eth0 egress is missing/],
  ['the filter of the veth', 'pod', 'tc filter del dev TL ingress', /filter tunlink_in of tl.* ingress is missing/],
  // the indexes of the devices are constants in the programs
  [
    'a program to a veth that is gone',
    'pod',
    'ip link del TL; ip link add TL type veth',
    /tunlink_out of eth0 egress runs another program/,
  ],
  ['a program to a TUN that is gone', 'pod', 'ip link del eth0; ip tuntap add eth0 mode tun', /tunlink_in of tl.* runs another program/],
  ['the pod’s veth end down', 'pod', 'ip link set TL down', /pod's end tl.* is down/],
  ['the pod’s veth end renamed', 'pod', 'ip link set TL down; ip link set TL name other', /pod's end tl.* is missing or renamed/],
  ['another device than the pod’s veth', 'pod', 'ip link del TL; ip tuntap add TL mode tun', /pod's end tl.* is not a veth device/],
  ['another MAC address in the pod', 'pod', 'ip link set TL address 02:00:00:00:00:09', /MAC address 02:00:00:00:00:09/],
  ['ARP on the pod’s veth end', 'pod', 'ip link set TL arp on', /pod's end tl.* lacks the flag NOARP/],
  ['a smaller MTU of the veth', 'pod', 'ip link set TL mtu 1300', /pod's end tl.* has mtu 1300, less than/],
  ['the node’s end down', 'node', 'ip link set TL down', /node's end tl.* is down/],
  ['another device than the node’s end', 'node', 'ip link del TL; ip tuntap add TL mode tun', /node's end tl.* is not a veth device/],
  ['another MAC address on the node', 'node', 'ip link set TL address 02:00:00:00:00:09', /MAC address 02:00:00:00:00:09/],
  ['ARP on the node’s end', 'node', 'ip link set TL arp on', /node's end tl.* lacks the flag NOARP/],
  ['a smaller MTU of the node’s end', 'node', 'ip link set TL mtu 1300', /node's end tl.* has mtu 1300, less than/],
  // an agent would make it anew at once
  ['the firewall’s table', 'node', 'nft flush ruleset', /the nftables table inet tunlink is missing/],
]

const KILLED = 'kill -9 AGENT; while grep -qs "^State:.[^ZX]" /proc/AGENT/status; do sleep 0.05; done'
const OF_THE_THREAD_WIRE: Damage[] = [
  ['the agent killed', 'machine', KILLED, /no agent answers at .*agent\.sock, so tl.* carries nothing/],
  ['the node’s end down', 'node', 'ip link set TL down', /link tl.* lacks the flag UP/],
  ['ARP on the node’s end', 'node', 'ip link set TL arp on', /link tl.* lacks the flag NOARP/],
  ['a veth in the place of the node’s end', 'node', 'ip link del TL; ip link add TL type veth', /link tl.* is not a TUN device/],
]

const OF_ATTACH: Damage[] = [
  ['no owner', 'pod', 'ip link del eth0; ip tuntap add eth0 mode tun', /owner none, not 1000.*group none, not 1001/],
  ['another owner', 'pod', 'ip link del eth0; ip tuntap add eth0 mode tun user 7 group 1001', /eth0 has owner 7, not 1000/],
  ['another group', 'pod', 'ip link del eth0; ip tuntap add eth0 mode tun user 1000 group 7', /eth0 has group 7, not 1001/],
  ['several queues', 'pod', 'ip link del eth0; ip tuntap add eth0 mode tun multi_queue', /eth0 has multiQueue true, not false/],
]

const ipam = { type: 'tunlink', ranges: [[{ subnet: '10.66.0.0/24' }], [{ subnet: 'fd66::/64' }]] }
const ATTACH = { farEnd: 'attach', owner: 1000, group: 1001, mtu: 1500, ipam }
const THREAD = { wire: 'thread', ipMasq: true, mtu: 1500, ipam }
const WIRES: [wire: string, conf: object, damages: Damage[]][] = [
  // no agent is ever started
  ['kernel', { ...THREAD, wire: 'kernel', agent: { spawn: false } }, [...OF_THE_KERNEL_WIRE, ...IN_EVERY_POD, ...ON_THE_NODE]],
  ['thread', THREAD, [...OF_THE_THREAD_WIRE, ...IN_EVERY_POD, ...ON_THE_NODE]],
  ['attach', ATTACH, [...OF_ATTACH, ...IN_EVERY_POD]],
]

// biome-ignore lint/suspicious/noExplicitAny: a CNI result
function addChecked(lab: Lab, pod: string, conf: object): any {
  const { json } = lab.must('ADD', pod, conf)
  lab.must('CHECK', pod, { ...conf, prevResult: json })
  return json
}

/** What CHECK says; it must fail. */
function faults(lab: Lab, pod: string, conf: object, prevResult: object, what: string): string {
  const { status, json } = lab.cni('CHECK', pod, { ...conf, prevResult })
  assert.is(status, 1, `${what} is not seen`)
  return `${json.msg}; ${json.details}`
}

for (const [wire, conf, damages] of WIRES)
  for (const [what, where, command, expected] of some(damages, 14))
    test(`${wire}: CHECK names it: ${what}`, () => {
      using lab = new Lab()
      const pod = lab.netns()
      const result = addChecked(lab, pod, conf)
      const [v4, v6] = result.ips.map(({ address }: { address: string }) => address.replace(/\/.*/, ''))
      const line = command
        .replaceAll('TL', result.interfaces[0].name)
        .replaceAll('POD4', v4)
        .replaceAll('POD6', v6)
        .replaceAll('POD', pod)
        .replaceAll('AGENT', String(lab.agentPid()))
      if (where === 'machine') execFileSync('sh', ['-ec', line])
      else inside(where === 'pod' ? pod : lab.node, 'sh', '-ec', line)
      assert.match(faults(lab, pod, conf, result, line).replaceAll(pod, 'POD'), expected)
      lab.must('DEL', pod, conf)
    })

/** A program in its text, which goes on until it is killed. */
const HOLDER = `
  import { attachTun, setPersist } from '${join(import.meta.dirname, '../../src/linux/tun.ts')}'
  setPersist(attachTun({ name: 'eth0', vnetHdr: false }), false)
  console.log('held')
  setInterval(() => {}, 60_000)`

test('attach: CHECK names it: a device that would not outlive the process that holds it', async () => {
  using lab = new Lab()
  const pod = lab.netns()
  const result = addChecked(lab, pod, ATTACH)
  const holder = start(pod, process.execPath, '--input-type=module', '-e', HOLDER)
  try {
    const said = output(holder)
    await eventually('the device is held', () => said.text() === 'held\n')
    assert.match(faults(lab, pod, ATTACH, result, 'persistence'), /link eth0 is not persistent any more/)
  } finally {
    holder.kill()
  }
  lab.must('DEL', pod, ATTACH)
})

test('thread: CHECK names it: an agent that holds the link and gets no thread for it', async () => {
  using lab = new Lab()
  const pod = lab.netns()
  const result = addChecked(lab, pod, THREAD)
  process.kill(lab.agentPid()!, 'SIGKILL')
  await eventually('it has ended', () => lab.agentPid() === undefined)
  const agent = output(start(lab.node, ...program('agent/threadless', 'agent', lab.dataDir)))
  await eventually('another one serves', () => agent.text().includes('serves'))
  let json: { msg?: string } = {}
  await eventually('CHECK fails', () => {
    json = lab.cni('CHECK', pod, { ...THREAD, prevResult: result }).json
    return json !== undefined
  })
  assert.match(String(json.msg), /the agent has no wire for tl\w+, so it carries nothing/)
})

test.run()
