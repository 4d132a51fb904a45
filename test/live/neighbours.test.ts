/**
 * Beside others: masquerade to the outside, reference plugins before and behind ours, user
 * namespaces, odd callers.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { readlinkSync } from 'node:fs'
import { resolve } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { eventually, inside, ip, Lab, pings } from '../support.ts'

const test = suite('neighbours')

test('ipMasq: a pod reaches a network that has no route back to it', () => {
  using lab = new Lab()
  const [pod, outside] = [lab.netns(), lab.netns()]
  execFileSync('ip', ['-n', lab.node, 'link', 'add', 'up0', 'mtu', '1450', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', outside])
  for (const [netns, dev, v4, v6] of [
    [lab.node, 'up0', '203.0.113.1/24', '2001:db8::1/64'],
    [outside, 'eth0', '203.0.113.2/24', '2001:db8::2/64'],
  ] as const) {
    inside(netns, 'ip', 'addr', 'add', v4, 'dev', dev)
    inside(netns, 'ip', 'addr', 'add', v6, 'dev', dev, 'nodad')
    inside(netns, 'ip', 'link', 'set', dev, 'up')
  }
  inside(lab.node, 'ip', 'route', 'add', 'default', 'via', '203.0.113.2')
  const conf = { ipam: { type: 'tunlink', ranges: [[{ subnet: '10.66.0.0/24' }], [{ subnet: 'fd66::/64' }]] } }
  lab.must('ADD', pod, conf)
  for (const far of ['203.0.113.2', '2001:db8::2']) assert.not.ok(pings(pod, far), `${far} cannot answer without masquerade`)
  lab.must('DEL', pod, conf)
  const { json } = lab.must('ADD', pod, { ...conf, ipMasq: true })
  assert.is(json.interfaces[1].mtu, 1450, 'the MTU of the default-route device')
  for (const far of ['203.0.113.2', '2001:db8::2']) assert.ok(pings(pod, far), `${far} answers`)
  lab.must('DEL', pod, { ...conf, ipMasq: true })
  assert.not.match(inside(lab.node, 'nft', 'list', 'table', 'inet', 'tunlink'), /elements/)
})

test('ptp with our IPAM: its pod is on the network, and DEL gives the address back', () => {
  using lab = new Lab()
  const pod = lab.netns()
  const conf = { cniVersion: '1.0.0', type: 'ptp', ipam: { type: 'tunlink', subnet: '10.66.0.0/24', dataDir: lab.dataDir } }
  lab.with('/usr/lib/cni/ptp', () => {
    const { json } = lab.must('ADD', pod, conf)
    assert.match(json.ips[0].address, /^10\.66\.0\.\d+\/24$/)
    assert.ok(pings(pod, '10.66.0.1'))
    lab.must('CHECK', pod, { ...conf, prevResult: json })
    lab.must('DEL', pod, conf)
  })
  assert.equal(lab.files(), [])
})

test('sbr, tuning and portmap chain behind ours', () => {
  using lab = new Lab()
  const pod = lab.netns()
  const base = { cniVersion: '1.0.0' }
  let prevResult = lab.must('ADD', pod, base).json
  const chain: [string, object][] = [
    ['tuning', { sysctl: { 'net.ipv4.conf.IFNAME.arp_filter': '1' }, mtu: 1400 }],
    ['portmap', { runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }] } }],
    ['sbr', {}],
  ]
  for (const [type, more] of chain)
    prevResult = lab.with(`/usr/lib/cni/${type}`, () => lab.must('ADD', pod, { ...base, type, ...more, prevResult }).json)
  const own = prevResult.ips[0].address.replace(/\/.*/, '')
  // sbr leaves routes for this source address alone
  assert.match(inside(pod, 'ping', '-c', '1', '-W', '2', '-I', own, '10.66.0.1'), / 0% packet loss/)
  assert.ok(pings(lab.node, own))
  for (const [type, more] of chain.toReversed())
    lab.with(`/usr/lib/cni/${type}`, () => lab.must('DEL', pod, { ...base, type, ...more, prevResult }))
  lab.must('DEL', pod, { ...base, prevResult })
  assert.equal([...lab.links(pod), ...lab.links(lab.node), ...lab.files()], [])
})

test('a pod in a user namespace', async () => {
  using lab = new Lab()
  const pod = spawn('unshare', ['--user', '--map-root-user', '--net', 'sleep', '60'], { stdio: 'ignore' })
  try {
    const own = readlinkSync('/proc/self/ns/net')
    const netns = `/proc/${pod.pid}/ns/net`
    await eventually('the namespace exists', () => readlinkSync(netns) !== own)
    lab.must('ADD', 'c1', {}, { CNI_NETNS: netns })
    const answer = spawnSync('nsenter', [`--net=${netns}`, 'ping', '-c', '1', '-W', '2', '10.66.0.1'])
    assert.is(answer.status, 0)
    lab.must('DEL', 'c1', {}, { CNI_NETNS: netns })
    assert.equal([...lab.links(lab.node), ...lab.files()], [])
  } finally {
    pod.kill()
  }
})

test('CHECK sees that the owner has cleared the device’s persistence; DEL succeeds after it is gone', () => {
  using lab = new Lab()
  const pod = lab.netns()
  const conf = { farEnd: 'attach', owner: 0 }
  const { json } = lab.must('ADD', pod, conf)
  const source = `
    import { attachTun, setPersist } from '${resolve(import.meta.dirname, '../../src/linux/tun.ts')}'
    import { execFileSync } from 'node:child_process'
    setPersist(attachTun({ name: 'eth0', vnetHdr: false }), false)
    console.log(execFileSync('ip', ['-d', 'link', 'show', 'eth0'], { encoding: 'utf8' }))`
  assert.match(inside(pod, process.execPath, '--input-type=module', '-e', source), /persist off/)
  assert.match(lab.cni('CHECK', pod, { ...conf, prevResult: json }).json.msg, /link eth0 is missing/)
  lab.must('DEL', pod, conf)
  assert.equal(lab.files(), [])
})

test('standard input that cannot be read is code 5', () => {
  using lab = new Lab()
  const env = { PATH: process.env.PATH, CNI_COMMAND: 'STATUS' }
  const { stdout, status } = spawnSync('sh', ['-c', 'exec "$0" < /', lab.executable], { encoding: 'utf8', env })
  assert.is(status, 1)
  assert.is(JSON.parse(stdout).code, 5)
  assert.match(JSON.parse(stdout).msg, /^error reading from stdin: /)
})

test('CNI_NETNS_OVERRIDE allows the plugin’s own namespace', () => {
  using lab = new Lab()
  const conf = { farEnd: 'attach', owner: 1 }
  const env = { CNI_NETNS: '/proc/self/ns/net', CNI_NETNS_OVERRIDE: '1' }
  lab.must('ADD', 'c1', conf, env)
  assert.equal(lab.links(lab.node), ['eth0'])
  lab.must('DEL', 'c1', conf, env)
  assert.equal([...lab.links(lab.node), ...lab.files()], [])
})

test('forwarding and strict rp_filter are on for a link whose far end is the node', () => {
  using lab = new Lab()
  const pod = lab.netns()
  lab.must('ADD', pod)
  assert.is(inside(lab.node, 'cat', '/proc/sys/net/ipv4/ip_forward').trim(), '1')
  const [host] = ip(lab.node, 'link').filter(({ ifname }: { ifname: string }) => ifname !== 'lo')
  assert.is(inside(lab.node, 'cat', `/proc/sys/net/ipv4/conf/${host.ifname}/rp_filter`).trim(), '1')
})

test.run()
