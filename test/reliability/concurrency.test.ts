/**
 * Many calls at once, in random order, with plugins and agents that are killed: kernel, leases and
 * records are as a model says, and no address is at two links at any moment. TUNLINK_SEED=N: that
 * order again (processes differ in speed, so what meets may not). TUNLINK_LONG=1: 600 calls of 4
 * seeds.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { holder } from '../agent/agents.ts'
import { eventually, inside, Lab } from '../support.ts'
import { AddressWatch } from './address-watch.ts'
import { filesOf, linksOf, nftElements, nodeEnds } from './kernel-state.ts'
import { addressesOf, Model, type Slot } from './model.ts'
import { Chance, firstSeed } from './random.ts'

const test = suite('concurrency')
const isLong = process.env.TUNLINK_LONG === '1'
const SEEDS = isLong ? 4 : 1
const STEPS = isLong ? 600 : 50
const AT_ONCE = 16
/** In 600 calls each is certain. */
const KILLED = ['ADD killed', 'DEL killed', 'CHECK killed', 'GC killed']
const NETWORKS = ['red', 'blue']
const PODS_EACH = 12

/** As many at once as there are; a network whose GC is due waits until it is at rest. */
class Runner {
  readonly model: Model
  kills = 0
  readonly #lab: Lab
  readonly #chance: Chance
  readonly #busy = new Set<Slot>()
  readonly #gcDue = new Set<string>()

  constructor(lab: Lab, chance: Chance) {
    this.#lab = lab
    this.#chance = chance
    this.model = new Model(lab, chance, NETWORKS, PODS_EACH)
  }

  /** `steps` steps; rejects with the first that fails, when all have ended. */
  async run(steps: number): Promise<void> {
    let left = steps
    const worker = async () => {
      while (left-- > 0) {
        if (this.#chance.happens(4)) this.#killAgent()
        await (this.#chance.happens(5) ? this.#collect() : this.#step())
      }
    }
    const ends = await Promise.allSettled(
      Array.from({ length: AT_ONCE }, () =>
        worker().catch(error => {
          left = 0
          throw error
        }),
      ),
    )
    for (const end of ends) if (end.status === 'rejected') throw end.reason
  }

  async #step(): Promise<void> {
    const isFree = (slot: Slot) => !this.#busy.has(slot) && !this.#gcDue.has(slot.network)
    while (!this.model.slots.some(isFree)) await sleep(5)
    const slot = this.#chance.of(this.model.slots.filter(isFree))
    this.#busy.add(slot)
    try {
      await this.model.step(slot)
    } finally {
      this.#busy.delete(slot)
    }
  }

  async #collect(): Promise<void> {
    const network = this.#chance.of(NETWORKS)
    if (this.#gcDue.has(network)) return this.#step()
    this.#gcDue.add(network)
    try {
      while ([...this.#busy].some(slot => slot.network === network)) await sleep(5)
      await this.model.gc(network)
    } finally {
      this.#gcDue.delete(network)
    }
  }

  #killAgent(): void {
    const pid = holder(this.#lab)
    if (pid === undefined) return
    process.kill(pid, 'SIGKILL')
    this.kills++
  }
}

/** The kernel, the files and the firewall have what lives, and nothing else. */
async function compare(lab: Lab, model: Model, watch: AddressWatch): Promise<void> {
  await watch.caughtUp()
  const { live } = model
  const sorted = (items: string[]) => [...items].sort()
  const ends = sorted(live.map(({ result }) => result.interfaces[0].name))
  assert.equal(nodeEnds(lab), ends, 'node ends of links')
  for (const slot of model.slots) assert.equal(linksOf(slot.netns).includes('eth0'), slot.state === 'live', `eth0 of ${slot.containerID}`)
  for (const slot of model.slots) if (slot.state !== 'live') assert.equal(linksOf(slot.netns), [], `links left of ${slot.containerID}`)
  for (const network of NETWORKS) {
    const own = live.filter(slot => slot.network === network)
    const ids = own.map(({ containerID }) => `${containerID}:eth0`)
    assert.equal(filesOf(lab, 'links', network), sorted(ids.map(id => `${id}.json`)), `records of ${network}`)
    const leases = [...ids.map(id => `.owners/${id}`), ...own.flatMap(({ result }) => addressesOf(result))]
    assert.equal(filesOf(lab, 'ipam', network), sorted(leases), `leases of ${network}`)
  }
  const addresses = live.flatMap(({ result }) => addressesOf(result))
  const elements = nftElements(lab.node)
  assert.equal(elements.links, ends, 'nft links')
  assert.equal(elements.masq4, sorted(addresses.filter(address => !address.includes(':'))), 'nft masq4')
  assert.equal(elements.masq6, sorted(addresses.filter(address => address.includes(':'))), 'nft masq6')
  assert.equal(watch.held, sorted(addresses), 'addresses as the kernel has said them')
}

async function runSeed(seed: number): Promise<void> {
  console.log(`seed ${seed}`)
  using lab = new Lab()
  const runner = new Runner(lab, new Chance(seed))
  const { model } = runner
  const watch = await AddressWatch.start(
    lab.node,
    model.slots.map(({ netns }) => netns),
  )
  let live = 0
  try {
    await runner.run(STEPS)
    for (const network of NETWORKS) await model.gc(network)
    await model.checkAll()
    await compare(lab, model, watch)
    live = model.live.length
    await model.delAll()
    await compare(lab, model, watch)
  } finally {
    await watch.end()
  }
  assert.equal(watch.doubles, [])
  if (isLong) for (const kind of KILLED) assert.ok(model.done[kind]! > 0, `some ${kind}`)
  if (isLong) assert.ok(runner.kills > 0, 'some agents killed')
  const calls = Object.entries(model.done).map(([kind, count]) => `${count} ${kind}`)
  console.log(
    `figure: concurrency, seed ${seed}: ${calls.join(', ')}, ${AT_ONCE} at a time; ${runner.kills} agents killed; ` +
      `${live} links at the end as the model has them, none after the last DEL; ` +
      `each of ${watch.changes} changes of an address on the node and in the pods seen, none at two links`,
  )
  await eventually('no agent is left', () => holder(lab) === undefined, 60)
}

test('the watch sees an address that is at two links for a moment, on the node or in pods', async () => {
  using lab = new Lab()
  const pods = [lab.netns(), lab.netns()]
  const watch = await AddressWatch.start(lab.node, pods)
  for (const pod of pods)
    inside(lab.node, 'ip', 'link', 'add', pod.replace('tlt', 'v'), 'type', 'veth', 'peer', 'name', 'eth0', 'netns', pod)
  const address = (what: string, netns: string, device: string, local: string, peer: string) =>
    inside(netns, 'ip', 'address', what, local, 'peer', peer, 'dev', device)
  for (const pod of pods) {
    address('add', lab.node, pod.replace('tlt', 'v'), '10.66.0.1', '10.66.0.2')
    address('add', pod, 'eth0', 'fd66::2', 'fd66::1')
  }
  for (const pod of pods) inside(pod, 'ip', 'link', 'del', 'eth0')
  await watch.end()
  assert.equal([watch.changes, watch.held], [8, []])
  assert.match(watch.doubles.join('\n'), /10\.66\.0\.2 is at current \d+ and current \d+\n.*fd66::2 is at 0 \d+ and 1 \d+/)
})

for (let index = 0; index < SEEDS; index++)
  test(`calls at once, ${index + 1}: kernel, leases, records and firewall are as the model has them`, () => runSeed(firstSeed() + index))

test.run()
