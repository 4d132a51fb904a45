/** The capability "bandwidth": each direction, by each wire, seen by CHECK and gone with DEL. */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { inside, Lab } from '../support.ts'

const test = suite('bandwidth')

const RATE = 40_000_000 // bits per second
const BURST = 400_000 // bits
const BYTES = 4 << 20 // 0.8 seconds of it
/** On the wire for each byte of a TCP stream at MTU 1500: a header of 66 bytes for 1448. */
const OVERHEAD = 1514 / 1448
const PORT = '7300'

const transfer = (netns: string, ...args: string[]) =>
  spawn('ip', ['netns', 'exec', netns, process.execPath, join(import.meta.dirname, '../transfer.ts'), ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })

/** Bits per second, headers included. */
async function measure(from: string, to: string, address: string): Promise<number> {
  const receiver = transfer(to, 'receive', PORT)
  await once(receiver.stdout, 'data')
  let said = ''
  receiver.stderr.on('data', chunk => (said += chunk))
  transfer(from, 'send', address, PORT, String(BYTES))
  await once(receiver, 'close')
  const [, ms] = said.match(/first byte to the last (\d+) ms/)!
  return (8 * (BYTES - BURST / 8) * OVERHEAD) / (Number(ms) / 1000)
}

const bandwidth = { ingressRate: RATE, ingressBurst: BURST, egressRate: RATE, egressBurst: BURST }

for (const wire of ['kernel', 'thread'])
  test(`${wire} wire: both directions are within 10 % of the rate, and CHECK sees when one is not limited`, async () => {
    using lab = new Lab()
    const pod = lab.netns()
    const conf = { wire, runtimeConfig: { bandwidth } }
    const { json: prevResult } = lab.must('ADD', pod, conf)
    const address = prevResult.ips[0].address.split('/')[0]
    for (const [from, to, target] of [
      [pod, lab.node, '10.66.0.1'],
      [lab.node, pod, address],
    ]) {
      const ratio = (await measure(from, to, target)) / RATE
      assert.ok(ratio > 0.9 && ratio < 1.1, `${ratio.toFixed(2)} of the rate from ${from === pod ? 'the pod' : 'the node'}`)
    }
    lab.must('CHECK', pod, { ...conf, prevResult })
    const [sender] = inside(pod, 'tc', 'qdisc', 'show').match(/(?<=tbf 1: dev )\S+/)!
    inside(pod, 'tc', 'qdisc', 'del', 'dev', sender!, 'root')
    const { msg, details = '' } = lab.cni('CHECK', pod, { ...conf, prevResult }).json
    assert.match(msg + details, /the pod sends as fast as it can, not 5000000 bytes per second/)
    lab.must('DEL', pod, conf)
    assert.equal(lab.links(pod), [])
  })

const annotations = { 'kubernetes.io/ingress-bandwidth': '40M', 'kubernetes.io/egress-bandwidth': '40M' }
for (const [source, conf] of Object.entries({
  'the configuration': bandwidth,
  'the annotations': { runtimeConfig: { 'io.kubernetes.cri.pod-annotations': annotations } },
}))
  test(`rates of ${source} are set at both ends`, () => {
    using lab = new Lab()
    const pod = lab.netns()
    lab.must('ADD', pod, conf)
    for (const netns of [pod, lab.node]) assert.match(inside(netns, 'tc', 'qdisc', 'show'), /tbf 1: dev tl\w+ root .*rate 40Mbit/)
    lab.must('DEL', pod, conf)
  })

test('"attach": what the pod sends is limited, and a limit to what it receives is refused in words', () => {
  using lab = new Lab()
  const pod = lab.netns()
  const conf = { farEnd: 'attach', owner: 1000, runtimeConfig: { bandwidth: { egressRate: RATE, egressBurst: BURST } } }
  lab.must('ADD', pod, conf)
  assert.match(
    execFileSync('ip', ['netns', 'exec', pod, 'tc', 'qdisc', 'show', 'dev', 'eth0'], { encoding: 'utf8' }),
    /tbf 1: root .*rate 40Mbit/,
  )
  lab.must('DEL', pod, conf)
  const refused = lab.cni('ADD', pod, { ...conf, runtimeConfig: { bandwidth: { ingressRate: RATE, ingressBurst: BURST } } })
  assert.is(refused.json.code, 7)
  assert.match(refused.json.msg, /"runtimeConfig\.bandwidth\.ingressRate" is 40000000, but goes with "farEnd": "host" only/)
})

test.run()
