import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { ask } from '../../src/agent/client.ts'
import { output, program, start, transfer } from '../processes.ts'
import { eventually, inside, ip, Lab, mebibytes, pings } from '../support.ts'

const dual = { wire: 'kernel', ipam: { type: 'tunlink', ranges: [[{ subnet: '10.66.0.0/24' }], [{ subnet: 'fd66::/64' }]] } }
/** No agent is ever started. */
const alone = { ...dual, agent: { spawn: false } }

const addressesOf = (json: { ips: { address: string }[] }) => json.ips.map(({ address }) => address.replace(/\/.*/, '')) as [string, string]

const test = suite('kernel wire')

test('with no process at all: ping, much by TCP, a new connection, both families; DEL leaves nothing', async () => {
  using lab = new Lab()
  const [one, two] = [lab.netns(), lab.netns()]
  lab.must('ADD', one, alone)
  const [v4, v6] = addressesOf(lab.must('ADD', two, alone).json)
  assert.is(lab.agentPid(), undefined)
  for (const far of ['10.66.0.1', 'fd66::1', v4, v6]) assert.ok(pings(one, far), `${far} answers the pod`)
  await transfer({ from: one, to: two, address: v4, port: 5001, bytes: mebibytes(1024) })
  await transfer({ from: two, to: lab.node, address: 'fd66::1', port: 5002, bytes: mebibytes(64) })
  for (const pod of [one, two]) lab.must('DEL', pod, alone)
  assert.equal([...lab.links(one), ...lab.links(two), ...lab.links(lab.node), ...lab.files()], [])
  assert.is(lab.agentPid(), undefined)
})

test('an agent that is killed and gone: of 1,000 pings a second none is lost, and the TUN only shows no carrier', async () => {
  using lab = new Lab()
  const running = (pod: string) => ip(pod, 'link', 'show', 'dev', 'eth0')[0].flags.includes('LOWER_UP')
  const pod = lab.netns()
  lab.must('ADD', pod, dual)
  await eventually('the agent holds the TUN', () => running(pod))
  const pinging = output(start(pod, 'ping', '-q', '-i', '0.001', '-c', '2000', '10.66.0.1'))
  await new Promise(done => setTimeout(done, 500))
  process.kill(lab.agentPid()!, 'SIGKILL')
  await eventually('the carrier is gone', () => !running(pod))
  assert.match(await pinging.ended, /2000 packets transmitted, 2000 received/)
  assert.ok(pings(pod, 'fd66::1'))
})

test('datagrams of every size are echoed, each once, whole and in order', async () => {
  using lab = new Lab()
  const pod = lab.netns()
  lab.must('ADD', pod, alone)
  const echoing = start(lab.node, ...program('datagrams', 'echo', '5000'))
  try {
    const echo = output(echoing)
    await eventually('the echo listens', () => echo.text().includes('listening'))
    const result = await output(start(pod, ...program('datagrams', 'ask', '10.66.0.1', '5000', '1472'))).ended
    assert.equal(JSON.parse(result), { sent: 1472, received: 1472, duplicates: 0, reordered: 0, damaged: 0 })
  } finally {
    echoing.kill()
  }
})

test('fragments, and MTUs from 68 to 16000', () => {
  using lab = new Lab()
  for (const [mtu, sizes] of [
    [68, [0, 40, 400]],
    [1500, [0, 1472, 1473, 20000, 65000]],
    [16000, [15972, 65507]],
  ] as const) {
    const pod = lab.netns()
    const subnet = `10.67.${mtu % 250}`
    lab.must('ADD', pod, { ...alone, mtu, name: `mtu${mtu}`, ipam: { type: 'tunlink', subnet: `${subnet}.0/24` } })
    for (const size of sizes)
      assert.match(inside(pod, 'ping', '-c', '3', '-i', '0.1', '-W', '2', '-s', String(size), `${subnet}.1`), / 0% packet loss/)
  }
})

test('an MTU that is too much for the kernel wire: "auto" takes a thread, "kernel" is refused with the reason', () => {
  using lab = new Lab()
  const pod = lab.netns()
  const { status, json } = lab.cni('ADD', pod, { ...alone, mtu: 16001 })
  assert.equal([status, json.code], [1, 50])
  assert.match(json.details, /MTU of at most 16000/)
  assert.equal([...lab.links(pod), ...lab.files()], [])
  lab.must('ADD', pod, { ...dual, wire: 'auto', mtu: 65535 })
  assert.match(inside(pod, 'ping', '-c', '3', '-i', '0.1', '-W', '2', '-s', '65507', '10.66.0.1'), / 0% packet loss/)
})

test('both kinds of wire live on one node and reach each other', () => {
  using lab = new Lab()
  const [one, two] = [lab.netns(), lab.netns()]
  const [v4, v6] = addressesOf(lab.must('ADD', one, { ...dual, wire: 'thread' }).json)
  lab.must('ADD', two, dual)
  for (const far of [v4, v6]) assert.ok(pings(two, far))
  for (const pod of [one, two]) lab.must('DEL', pod, dual)
  assert.equal([...lab.links(one), ...lab.links(two), ...lab.links(lab.node), ...lab.files()], [])
})

test('a pod with more links than there are known indexes, and with such an index taken', () => {
  using lab = new Lab()
  const pod = lab.netns()
  inside(pod, 'ip', 'link', 'add', 'taken', 'index', '7402', 'type', 'veth', 'peer', 'name', 'other')
  const ipam = { type: 'tunlink', subnet: '10.66.0.0/24', routes: [] }
  const locals = Array.from({ length: 10 }, (_, index) =>
    lab
      .must('ADD', pod, { ...alone, ipam, peer: `10.99.0.${index + 1}` }, { CNI_IFNAME: `eth${index}` })
      .json.ips[0].address.replace('/32', ''),
  )
  for (const local of locals) assert.ok(pings(lab.node, local), `${local} answers`)
  for (let index = 0; index < 10; index++) lab.must('DEL', pod, { ...alone, ipam }, { CNI_IFNAME: `eth${index}` })
  assert.equal([lab.links(pod).sort(), ...lab.links(lab.node), ...lab.files()], [['other', 'taken']])
})

test('counters are those of the node’s end, from the pod and to the pod', async () => {
  using lab = new Lab()
  for (const wire of ['kernel', 'thread']) {
    const pod = lab.netns()
    lab.must('ADD', pod, { ...dual, wire })
    await eventually('a thread carries packets when it has started', () => pings(pod, '10.66.0.1'))
    inside(pod, 'ping', '-c', '10', '-i', '0.01', '-s', '100', '10.66.0.1')
    await eventually('an agent answers', () => existsSync(join(lab.dataDir, 'agent.sock')))
    const { links } = await ask(lab.dataDir, { op: 'list' })
    const link = links.find(({ containerID }) => containerID === pod)!
    assert.is(link.wire, wire)
    assert.ok(link.podToHost!.packets >= 10 && link.podToHost!.bytes >= 1280, JSON.stringify(link))
    assert.ok(link.hostToPod!.packets >= 10 && link.hostToPod!.bytes >= 1280, JSON.stringify(link))
  }
})

test.run()
