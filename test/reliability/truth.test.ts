/**
 * CHECK and GC tell the truth: what later plugins of a chain may change is no fault, what is lost
 * on disk is one, and GC goes on after an error. What is damaged in the kernel is in
 * test/live/damages.test.ts.
 */
import { execFileSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { inside, type Lab } from '../support.ts'
import { alone, inLab } from './inside-lab.ts'

const test = suite('truth')

interface Added {
  pod: string
  // biome-ignore lint/suspicious/noExplicitAny: a CNI result
  result: any
}

function addPod(lab: Lab, conf: object = alone): Added {
  const pod = lab.netns()
  return { pod, result: lab.must('ADD', pod, conf).json }
}

/** In the pod or on the node, by a later plugin or by hand. TL is the name of the node's end. */
const PERMITTED: [what: string, where: 'pod' | 'node', command: string][] = [
  ['another address in the pod', 'pod', 'ip addr add 192.0.2.7/32 dev eth0'],
  ['another IPv6 address in the pod', 'pod', 'ip addr add 2001:db8::7/128 dev eth0'],
  ['another route in the pod', 'pod', 'ip route add 198.51.100.0/24 via 10.66.0.1 dev eth0'],
  ['another device in the pod', 'pod', 'ip link add more type veth peer name other; ip link set more up'],
  ['another default route with a higher metric', 'pod', 'ip route add default dev lo metric 900'],
  [
    'rules and a table for them, as of sbr',
    'pod',
    'ip route add default via 10.66.0.1 dev eth0 table 100; ip rule add from 10.66.0.0/24 table 100',
  ],
  [
    'sysctls of the pod, as of tuning',
    'pod',
    'sysctl -qw net.ipv4.conf.eth0.arp_filter=1 net.ipv4.conf.eth0.rp_filter=0 net.ipv4.ip_forward=1',
  ],
  ['promiscuity and all multicast, as of tuning', 'pod', 'ip link set eth0 promisc on allmulticast on'],
  ['another length of the queue, as of tuning', 'pod', 'ip link set eth0 txqueuelen 17'],
  ['a firewall in the pod', 'pod', 'nft "add table inet own; add chain inet own in { type filter hook input priority 0; }"'],
  ['a neighbour entry by hand', 'pod', 'ip neigh add 10.66.0.9 lladdr 02:00:00:00:00:01 dev TL nud permanent'],
  ['a shaped node’s end, as of bandwidth', 'node', 'tc qdisc add dev TL root tbf rate 10mbit burst 32kb latency 50ms'],
  ['an ingress qdisc of the node’s end, as of bandwidth', 'node', 'tc qdisc add dev TL handle ffff: ingress'],
  [
    'tables of others, as of portmap and firewall',
    'node',
    'nft "add table ip others; add chain ip others nat { type nat hook prerouting priority -100; }"',
  ],
  ['another route to the pod', 'node', 'ip route add 203.0.113.0/24 dev TL'],
  ['another address of the node’s end', 'node', 'ip addr add 203.0.113.1/32 dev TL'],
  ['a larger MTU of the node’s end', 'node', 'ip link set TL mtu 9000'],
  ['loose rp_filter', 'node', 'sysctl -qw net.ipv4.conf.TL.rp_filter=2'],
]

test(`${PERMITTED.length} changes that later plugins may make are no fault, one after another and all together`, () =>
  inLab(lab => {
    const conf = { ...alone, mtu: 1500 }
    const { pod, result } = addPod(lab, conf)
    for (const [what, where, command] of PERMITTED) {
      inside(where === 'pod' ? pod : lab.node, 'sh', '-ec', command.replaceAll('TL', result.interfaces[0].name))
      const { status, stdout } = lab.cni('CHECK', pod, { ...conf, prevResult: result })
      assert.is(status, 0, `${what}: ${stdout}`)
    }
    // as of tuning, which says so in its result
    inside(pod, 'ip', 'link', 'set', 'eth0', 'mtu', '1400')
    const lowered = {
      ...result,
      interfaces: [result.interfaces[0], { ...result.interfaces[1], mtu: 1400 }, { name: 'more', mac: '02:00:00:00:00:01' }],
    }
    lab.must('CHECK', pod, { ...conf, prevResult: lowered })
    assert.match(lab.cni('CHECK', pod, { ...conf, prevResult: result }).json.msg, /mtu 1400, not 1500/)
    lab.must('DEL', pod, conf)
    console.log(`figure: permitted changes that are no fault: ${PERMITTED.length + 1}`)
  }))

const WITH_IPV6 = { type: 'tunlink', ranges: [[{ subnet: '10.66.0.0/24' }], [{ subnet: 'fd66::/64' }]] }

/** Numbers in whose place the kernel takes others, and more routes than one datagram carries. */
const ROUTES: [what: string, routes: object[]][] = [
  ['priority 0', [{ dst: '0.0.0.0/0', priority: 0 }]],
  ['priority 0 of IPv6', [{ dst: '::/0', priority: 0 }]],
  ['priority 0 beside none', [{ dst: '0.0.0.0/0', priority: 0 }, { dst: '0.0.0.0/0' }]],
  ['mtu and advmss 0', [{ dst: '0.0.0.0/0', mtu: 0, advmss: 0 }]],
  ['mtu and advmss above all', [{ dst: '::/0', mtu: 70_000, advmss: 70_000 }]],
  ['table 0', [{ dst: '0.0.0.0/0', table: 0 }]],
  ['table local', [{ dst: '192.0.2.0/24', table: 255 }]],
  ['one route twice, host bits aside', [{ dst: '192.0.2.1/24' }, { dst: '192.0.2.0/24' }]],
  ['one route of IPv6 twice', [{ dst: '::/0' }, { dst: '::/0' }]],
  ['a thousand routes', Array.from({ length: 1000 }, (_, at) => ({ dst: `20.${at >> 8}.${at & 255}.0/24` }))],
]

test(`${ROUTES.length} lists of routes: CHECK after ADD succeeds, and fails when one of them is gone`, () =>
  inLab(lab => {
    for (const [what, routes] of ROUTES) {
      const conf = { ...alone, ipam: { ...WITH_IPV6, routes } }
      const { pod, result } = addPod(lab, conf)
      const check = () => lab.cni('CHECK', pod, { ...conf, prevResult: result })
      assert.is(check().status, 0, `${what}: ${check().stdout}`)
      for (const family of ['-4', '-6']) inside(pod, 'sh', '-c', `ip ${family} route flush proto static table all`)
      assert.match(check().json.msg, /route .* is missing/, what)
      lab.must('DEL', pod, conf)
    }
  }))

test('plugins of the package chain behind ours: tuning, portmap, firewall and sbr; CHECK of ours succeeds after each', () =>
  inLab(lab => {
    const { pod, result } = addPod(lab, { ...alone, cniVersion: '1.0.0' })
    let prevResult = result
    for (const [type, more] of [
      ['tuning', { sysctl: { 'net.ipv4.conf.IFNAME.arp_filter': '1' }, mtu: 1400, promisc: true }],
      ['portmap', { runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }] } }],
      ['firewall', {}],
      ['sbr', {}],
    ] as const) {
      prevResult = lab.with(`/usr/lib/cni/${type}`, () => lab.must('ADD', pod, { cniVersion: '1.0.0', type, ...more, prevResult }).json)
      // the package's plugins print no MTU: what they set is told as the runtime's user would
      const interfaces = prevResult.interfaces.map((item: { name: string }) => (item.name === 'eth0' ? { ...item, mtu: 1400 } : item))
      const { status, stdout } = lab.cni('CHECK', pod, {
        ...alone,
        cniVersion: '1.1.0',
        prevResult: { ...prevResult, cniVersion: '1.1.0', interfaces },
      })
      assert.is(status, 0, `after ${type}: ${stdout}`)
    }
  }))

/**
 * What is lost or changed on disk. DIR is the dataDir, POD the containerID, A4 and A6 the
 * addresses.
 */
const LOST: [what: string, command: string, expected: RegExp][] = [
  ['the record', 'rm DIR/links/net/POD:eth0.json', /has no link for CNI_IFNAME "eth0" on record/],
  ['all of the record’s text', ': >DIR/links/net/POD:eth0.json', /cannot be used: it is empty/],
  ['half of the record’s text', 'truncate -s 100 DIR/links/net/POD:eth0.json', /cannot be used: it is not JSON/],
  ['the IPv4 lease', 'rm DIR/ipam/net/A4', /10\.66\.0\.\d+ of CNI_CONTAINERID ".*" is not leased any more/],
  ['the IPv6 lease', 'rm DIR/ipam/net/A6', /fd66::\S+ of CNI_CONTAINERID ".*" is not leased any more/],
  ['the owner of the leases', 'rm DIR/ipam/net/.owners/POD:eth0', /are not leased any more/],
  ['the lease to another pod', 'rm DIR/ipam/net/A4; echo >DIR/ipam/net/A4', /10\.66\.0\.\d+ of .* is not leased any more/],
  ['the directory of the leases', 'rm -r DIR/ipam', /are not leased any more/],
]

test(`${LOST.length} losses on disk are found and named by CHECK, and DEL succeeds`, () =>
  inLab(lab => {
    for (const [what, command, expected] of LOST) {
      const { pod, result } = addPod(lab)
      const [a4, a6] = result.ips.map(({ address }: { address: string }) => address.replace(/\/.*/, ''))
      const line = command.replaceAll('DIR', lab.dataDir).replaceAll('POD', pod).replaceAll('A4', a4).replaceAll('A6', a6)
      execFileSync('sh', ['-ec', line])
      const { status, json } = lab.cni('CHECK', pod, { ...alone, prevResult: result })
      assert.is(status, 1, `${what} is not missed`)
      assert.match(`${json.msg}; ${json.details}`, expected, what)
      lab.must('DEL', pod, alone)
      assert.equal([...lab.links(pod), ...lab.links(lab.node)], [], what)
      rmSync(join(lab.dataDir, 'ipam'), { recursive: true, force: true })
    }
  }))

/** An IPAM plugin that writes down what it is asked, and fails where a file says so. */
const IPAM = `#!/bin/sh
dir=$(dirname "$0")
echo "$CNI_COMMAND" >>"$dir/asked"
cat >"$dir/stdin"
if [ -e "$dir/fails-$CNI_COMMAND" ]; then echo '{"cniVersion":"1.1.0","code":111,"msg":"the delegate is unwell"}'; exit 1; fi
if [ "$CNI_COMMAND" = ADD ]; then echo '{"cniVersion":"1.1.0","ips":[{"address":"10.99.0.'$(wc -l <"$dir/asked")'/24","gateway":"10.99.0.254"}]}'; fi
`

test('CHECK, STATUS and GC ask the delegate, with the whole configuration, and say what it says', () =>
  inLab(lab => {
    const bin = join(lab.dataDir, 'bin')
    mkdirSync(bin)
    writeFileSync(join(bin, 'noted'), IPAM)
    chmodSync(join(bin, 'noted'), 0o755)
    const env = { CNI_PATH: bin }
    const conf = { ...alone, ipam: { type: 'noted', more: 'passed on' }, 'cni.dev/valid-attachments': [] }
    const pod = lab.netns()
    const { json } = lab.must('ADD', pod, conf, env)
    for (const verb of ['CHECK', 'STATUS', 'GC'])
      for (const fails of [true, false]) {
        rmSync(join(bin, 'asked'))
        if (fails) writeFileSync(join(bin, `fails-${verb}`), '')
        else rmSync(join(bin, `fails-${verb}`))
        const output = lab.cni(verb, pod, { ...conf, prevResult: json }, env)
        assert.is(output.status, fails ? 1 : 0, `${verb}: ${output.stdout}`)
        if (fails) assert.match(`${output.json.msg} ${output.json.details}`, /the delegate is unwell/)
        assert.ok(readFileSync(join(bin, 'asked'), 'utf8').split('\n').includes(verb), `${verb} is passed on`)
        const passed = JSON.parse(readFileSync(join(bin, 'stdin'), 'utf8'))
        assert.equal([passed.ipam.more, passed['cni.dev/valid-attachments']], ['passed on', []])
      }
    assert.equal([lab.links(lab.node), lab.files()], [[], []], 'GC has collected the link while its delegate was unwell')
  }))

test('GC goes on after errors, names every one, and collects the rest', () =>
  inLab(lab => {
    const kept = addPod(lab)
    const gone = [1, 2, 3].map(() => addPod(lab))
    const links = join(lab.dataDir, 'links/net')
    const [first, second] = gone.map(({ pod }) => pod)
    // Directories where files are to be removed.
    const drafts = ['a.tmp', `${first}:eth0.json.tmp`].map(name => join(links, name))
    const stuck = ['.new-a', '.new-b'].map(name => join(lab.dataDir, 'ipam/net/.owners', name))
    for (const path of [...drafts, ...stuck]) mkdirSync(path)
    writeFileSync(join(links, `${second}:eth0.json`), '{')
    const { status, json } = lab.cni('GC', kept.pod, { ...alone, 'cni.dev/valid-attachments': [{ containerID: kept.pod, ifname: 'eth0' }] })
    assert.is(status, 1)
    for (const path of stuck) assert.ok(json.msg.includes(path), `${path} is named: ${json.msg}`)
    for (const path of drafts) assert.not.ok(existsSync(path))
    assert.equal(lab.links(lab.node), [kept.result.interfaces[0].name])
    // A broken record says no namespace, and GC is given none: that pod's own TUN goes with its
    // namespace.
    assert.equal(
      gone.map(({ pod }) => lab.podLinks(pod)),
      [[], ['eth0'], []],
    )
    assert.equal(
      readdirSync(links).filter(name => name.endsWith('.json')),
      [`${kept.pod}:eth0.json`],
    )
    assert.equal(readdirSync(join(lab.dataDir, 'ipam/net')).filter(name => name !== '.owners').length, 2)
    lab.must('CHECK', kept.pod, { ...alone, prevResult: kept.result })
  }))

test.run()
