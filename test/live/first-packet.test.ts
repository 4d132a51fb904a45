/**
 * A pod may send as soon as ADD has answered, also on a node whose kernel is slow to notice that a
 * device has a carrier: there other processes make devices all the time.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { LinkPlan } from '../../src/link/plan.ts'
import { untilReady } from '../../src/link/ready.ts'
import { Netns } from '../../src/linux/netns.ts'
import { EXECUTABLES, environment, inside, isSlow, Lab } from '../support.ts'

const test = suite('first packet')

const BUSY = isSlow ? 4 : 16
const PODS = isSlow ? 6 : 16

/** Waits for a line, then sends one datagram to the node. */
const SENDER = `
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
print('ready', flush=True)
sys.stdin.readline()
s.sendto(b'x', ('10.66.0.1', 9))
print('sent', flush=True)`

/** A process that makes and deletes a veth pair again and again, in a namespace of its own. */
const busy = (netns: string, number: number): ChildProcess => {
  const [one, other] = [`one${number}`, `other${number}`]
  const links = `ip link add ${one} type veth peer name ${other}; ip link set ${one} up; ip link set ${other} up; ip link del ${one}`
  return spawn('ip', ['netns', 'exec', netns, 'sh', '-c', `while :; do ${links}; done`], { stdio: 'ignore', detached: true })
}

/** Packets that the pod's devices have dropped, after one was sent as soon as ADD had answered. */
async function droppedAfterAdd(lab: Lab, pod: string): Promise<number> {
  const sender = spawn('ip', ['netns', 'exec', pod, 'python3', '-c', SENDER], { stdio: ['pipe', 'pipe', 'inherit'] })
  await once(sender.stdout, 'data')
  const add = spawn('ip', ['netns', 'exec', lab.node, lab.executable], {
    env: { PATH: process.env.PATH, ...environment('ADD', pod) },
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  add.stdin.end(JSON.stringify(lab.conf))
  await once(add.stdout, 'data')
  sender.stdin.end('\n')
  await once(sender.stdout, 'data')
  const counters = execFileSync('ip', ['netns', 'exec', pod, 'sh', '-c', 'cat /sys/class/net/*/statistics/tx_dropped'], {
    encoding: 'utf8',
  })
  return counters
    .trim()
    .split('\n')
    .map(Number)
    .reduce((sum, count) => sum + count)
}

for (const [name, executable] of EXECUTABLES)
  test(`${name}: of ${PODS} pods each one's first packet leaves, while ${BUSY} processes make devices`, async () => {
    using lab = new Lab(executable)
    const elsewhere = lab.netns()
    const others = Array.from({ length: BUSY }, (_, number) => busy(elsewhere, number))
    try {
      for (let pod = 0; pod < PODS; pod++) assert.is(await droppedAfterAdd(lab, lab.netns()), 0, `pod ${pod}`)
    } finally {
      for (const { pid } of others) process.kill(-pid!, 'SIGKILL')
    }
  })

test('ADD waits while the kernel does not send by a device, for a second at most', async () => {
  using lab = new Lab()
  const pod = lab.netns()
  inside(pod, 'ip', 'link', 'add', 'one', 'type', 'veth', 'peer', 'name', 'other')
  inside(pod, 'ip', 'link', 'set', 'one', 'up')
  using netns = new Netns(`/run/netns/${pod}`)
  let isReady = false
  const wait = () => untilReady({ wire: 'kernel', host: { ifname: 'one' } } as LinkPlan, netns).then(() => (isReady = true))
  const ready = wait()
  await sleep(200)
  assert.not.ok(isReady, 'the other end is down')
  inside(pod, 'ip', 'link', 'set', 'other', 'up')
  await ready
  inside(pod, 'ip', 'link', 'set', 'other', 'down')
  await wait()
})

test.run()
