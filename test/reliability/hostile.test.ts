/**
 * A pod with NET_ADMIN does its worst to its own devices: no other pod notices, and DEL leaves
 * nothing of it on the node. See SECURITY.md.
 */
import { spawn, spawnSync } from 'node:child_process'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { eventually, inside, type Lab, pings } from '../support.ts'
import { alone, inLab } from './inside-lab.ts'

const test = suite('hostile pod')

/**
 * Shell commands in the pod. TL is its hidden veth end, AWAY another namespace, VICTIM a neighbour.
 */
const ABUSES: [what: string, command: string][] = [
  ['renames the TUN', 'ip link set eth0 down; ip link set eth0 name other; ip link set other up'],
  ['renames its veth end', 'ip link set TL down; ip link set TL name eth7; ip link set eth7 up'],
  ['names its veth end as the TUN', 'ip link set eth0 down; ip link set eth0 name x; ip link set TL down; ip link set TL name eth0'],
  ['deletes the TUN', 'ip link del eth0'],
  ['deletes its veth end', 'ip link del TL'],
  ['makes an Ethernet device in the place of the TUN', 'ip link del eth0; ip link add eth0 type veth peer name eth8; ip link set eth0 up'],
  ['makes a TUN of its own in that place', 'ip link del eth0; ip tuntap add eth0 mode tun; ip link set eth0 up'],
  ['moves its veth end away', 'ip link set TL netns AWAY'],
  ['moves the TUN away', 'ip link set eth0 netns AWAY'],
  ['takes its filters out', 'tc qdisc del dev eth0 clsact; tc qdisc del dev TL clsact'],
  ['drops all by filters of its own', 'tc filter del dev TL ingress; tc filter add dev TL ingress prio 1 bpf da bytecode "1,6 0 0 2"'],
  [
    'lets what comes into its own stack',
    'tc filter del dev TL ingress; tc filter add dev TL ingress prio 1 bpf da bytecode "1,6 0 0 0"; ping -c 3 -i 0.1 -W 1 10.66.0.1 || true',
  ],
  ['gives its veth end the node’s MAC address', 'ip link set TL down; ip link set TL address 02:74:6c:00:00:01; ip link set TL up'],
  ['gives it a multicast address', 'ip link set TL address 01:00:5e:00:00:01 || true; ip link set TL arp on promisc on allmulticast on'],
  ['takes its neighbour’s address', 'ip addr add VICTIM/32 dev eth0; ping -c 3 -i 0.1 -W 1 -I VICTIM 10.66.0.1 || true'],
  ['takes the node’s address', 'ip addr add 10.66.0.1/32 dev lo; ip route add local 10.66.0.0/24 dev lo || true'],
  ['sends router advertisements', 'sysctl -qw net.ipv6.conf.all.forwarding=1; RAWRA'],
  ['sends frames with VLAN tags and unknown types', 'RAWFRAMES'],
  ['changes aliases', 'ip link set TL alias nothing'],
  ['makes MTUs as small and as large as they go', 'ip link set eth0 mtu 68; ip link set TL mtu 65535; ip link set TL mtu 68'],
  [
    'shapes its devices to nothing',
    'tc qdisc replace dev TL root tbf rate 8kbit burst 2kb latency 1ms; ping -c 3 -i 0.1 -W 1 10.66.0.1 || true',
  ],
  ['fills its routes', 'for i in $(seq 1 254); do echo "route add 198.51.100.$i via 10.66.0.1 dev eth0"; done | ip -batch -'],
  ['has a firewall that drops all', 'nft "add table inet x; add chain inet x i { type filter hook input priority 0; policy drop; }"'],
]

/** Frames by a packet socket of the pod's veth end: python3 -c FRAMES DEVICE HEX... */
const FRAMES =
  'import socket,sys\ns=socket.socket(socket.AF_PACKET,socket.SOCK_RAW)\ns.bind((sys.argv[1],0))\nfor hex in sys.argv[2:]: s.send(bytes.fromhex(hex))'
const frames = (device: string, ...hex: string[]) => `python3 -c '${FRAMES}' ${device} ${hex.join(' ')}`

const [TO_NODE, FROM] = ['ffffffffffff', '020000000007']
/** An IPv4 header of 20 bytes with a UDP header, from 10.66.0.99, which is nobody's. */
const INNER = '4500001c000000004011 0000 0a420063 0a420001 15b30009 00080000'.replaceAll(' ', '')
const UNKNOWN = [
  `${TO_NODE}${FROM}8100 0000 0800${INNER}`, // VLAN 0: a priority tag
  `${TO_NODE}${FROM}8100 0007 0800${INNER}`,
  `${TO_NODE}${FROM}88a8 0007 8100 0007 0800${INNER}`,
  `${TO_NODE}${FROM}0806 0001080006040001${FROM}0a420001${FROM}0a420001`, // ARP: 10.66.0.1 is me
  `${TO_NODE}${FROM}88cc 0000`,
  `${TO_NODE}${FROM}ffff 0000`,
  `${TO_NODE}${FROM}0800 45`,
].map(hex => hex.replaceAll(' ', ''))
/** From fe80::7 to ff02::1, ICMPv6 134, as a kernel would take it: router for 1,800 s. */
const ADVERTISEMENT =
  `333300000001${FROM}86dd60000000 0010 3aff fe800000000000000000000000000007 ff020000000000000000000000000001 8600 3521 40 00 0708 00000000 00000000`.replaceAll(
    ' ',
    '',
  )

interface Neighbour {
  pod: string
  address: string
}

function abuse(lab: Lab, pod: string, tl: string, { address }: Neighbour, command: string): void {
  const line = command
    .replaceAll('RAWRA', frames('TL', ADVERTISEMENT))
    .replaceAll('RAWFRAMES', frames('TL', ...UNKNOWN))
    .replaceAll('AWAY', away(lab))
    .replaceAll('VICTIM', address)
    .replaceAll('TL', tl)
  inside(pod, 'sh', '-ec', line)
}

const namespaces = new WeakMap<Lab, string>()
/** One namespace that takes all that is moved. */
function away(lab: Lab): string {
  const found = namespaces.get(lab) ?? lab.netns()
  namespaces.set(lab, found)
  return found
}

/** Everything of the node that is another's: its links, addresses, routes, and the firewall. */
const stateOf = (lab: Lab, tl: string) =>
  inside(
    lab.node,
    'sh',
    '-ec',
    `ip -o addr show dev ${tl}; ip route show table all; ip -6 route show table all; nft list table inet tunlink; ip neigh`,
  ).replace(/(valid|preferred)_lft \S+|expires \S+|pref \S+/g, '')

test(`${ABUSES.length} abuses by a pod with NET_ADMIN: its neighbour loses no packet, the node stays as it was, DEL and a new ADD work`, async () => {
  await inLab(async lab => {
    const victim = lab.netns()
    const { json } = lab.must('ADD', victim, alone)
    const neighbour = { pod: victim, address: json.ips[0].address.replace('/32', '') }
    const before = stateOf(lab, json.interfaces[0].name)
    const pinging = spawn('ip', ['netns', 'exec', victim, 'ping', '-q', '-i', '0.02', '10.66.0.1'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let summary = ''
    pinging.stdout.on('data', chunk => (summary += chunk))
    const ended = new Promise(done => pinging.on('close', done))
    const pod = lab.netns()
    try {
      for (const [what, command] of ABUSES) {
        const tl = lab.must('ADD', pod, alone).json.interfaces[0].name
        abuse(lab, pod, tl, neighbour, command)
        lab.must('DEL', pod, alone)
        assert.equal(lab.links(lab.node), [json.interfaces[0].name], `a pod that ${what} leaves nothing on the node`)
        assert.equal(stateOf(lab, json.interfaces[0].name), before, `a pod that ${what} changes nothing of the node`)
        clear(pod)
        if (command.includes('AWAY')) clear(away(lab))
      }
      lab.must('CHECK', victim, { ...alone, prevResult: json })
      assert.ok(pings(victim, 'fd66::1'))
    } finally {
      spawnSync('kill', ['-INT', String(pinging.pid)])
      await ended
    }
    const [, sent, received] = summary.match(/(\d+) packets transmitted, (\d+) received/)!.map(Number)
    assert.ok(sent! > 50 && received! >= sent! - 1, summary) // the last one may be under way
    console.log(
      `figure: abuses by a pod with NET_ADMIN ${ABUSES.length}, pings of its neighbour lost ${Math.max(sent! - received! - 1, 0)} of ${sent}`,
    )
  })
})

/** Removes what the pod has left of its own making, as a runtime does with the namespace. */
function clear(netns: string): void {
  const devices = 'for device in $(ls /sys/class/net); do [ $device = lo ] || ip link del $device || true; done 2>/dev/null'
  inside(netns, 'sh', '-ec', `${devices}; ip addr flush dev lo; nft flush ruleset`)
}

test('a router advertisement from the pod: the table drops it, and where it does not, the node’s end takes no route from it', () =>
  inLab(async lab => {
    const pod = lab.netns()
    const tl = lab.must('ADD', pod, alone).json.interfaces[0].name
    /** How many the node has received, whatever it made of them. */
    const received = () => Number(inside(lab.node, 'nstat', '-asz', 'Icmp6InRouterAdvertisements').match(/Advertisements +(\d+)/)![1])
    const routes = () => inside(lab.node, 'ip', '-6', 'route', 'show', 'default')
    const accept = (device: string) => inside(lab.node, 'sysctl', '-qw', `net.ipv6.conf.${device}.accept_ra=2`)
    const advertise = () => inside(pod, 'sh', '-ec', frames(tl, ADVERTISEMENT))

    accept(tl)
    advertise()
    assert.ok(pings(pod, 'fd66::1')) // what was sent before it has come
    assert.equal([received(), routes()], [0, ''], 'the table drops it')
    lab.must('DEL', pod, alone)

    accept('default') // what a device made now has, unless told otherwise
    lab.must('ADD', pod, alone)
    inside(lab.node, 'nft', 'delete', 'table', 'inet', 'tunlink')
    advertise()
    await eventually('it is received without the table', () => received() === 1)
    assert.is(routes(), '', 'by our setting it gives the node no route')
    accept(tl)
    advertise()
    await eventually('it gives the node a route where accept_ra is 2', () => routes().includes(`via fe80::7 dev ${tl}`))
  }))

test('a pod that floods is deleted in the middle of it, and its neighbour goes on', () =>
  inLab(async lab => {
    const [pod, victim] = [lab.netns(), lab.netns()]
    lab.must('ADD', pod, alone)
    lab.must('ADD', victim, alone)
    const floods = ['10.66.0.1', 'fd66::1'].map(far =>
      spawn('ip', ['netns', 'exec', pod, 'ping', '-f', '-q', '-s', '1000', far], { stdio: 'ignore' }),
    )
    try {
      const { stdout } = spawnSync('ip', ['netns', 'exec', victim, 'ping', '-c', '20', '-i', '0.05', '-W', '5', '10.66.0.1'], {
        encoding: 'utf8',
      })
      assert.ok(Number(stdout.match(/(\d+) received/)![1]) > 10, stdout)
      lab.must('DEL', pod, alone)
      assert.is(lab.links(lab.node).length, 1)
      assert.ok(pings(victim, '10.66.0.1'))
    } finally {
      for (const flood of floods) flood.kill()
    }
  }))

test.run()
