/**
 * Many calls at once, in random order, with plugins and agents that are killed: kernel, leases and
 * records are as a model says, and no address is ever at two links. TUNLINK_SEED=N: that order
 * again (processes differ in speed, so what meets may not). TUNLINK_LONG=1: 600 calls of 4 seeds.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { holder } from '../agent/agents.ts'
import { eventually, Lab } from '../support.ts'
import { filesOf, linksOf, nftElements, nodeEnds, peers } from './kernel-state.ts'
import { addressesOf, Model, type Slot } from './model.ts'
import { Chance, firstSeed } from './random.ts'

const test = suite('concurrency')
const isLong = process.env.TUNLINK_LONG === '1'
const SEEDS = isLong ? 4 : 1
const STEPS = isLong ? 600 : 50
const AT_ONCE = 16
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

/** Looks at the node again and again: how often; rejects when an address is at two links. */
async function observe(lab: Lab, isOver: () => boolean): Promise<number> {
  for (let looks = 0; ; looks++) {
    for (const [address, devices] of await peers(lab.node))
      assert.is(devices.length, 1, `${address} is at the far end of ${devices.join(' and ')}`)
    if (isOver()) return looks
    await sleep(50)
  }
}

/** The kernel, the files and the firewall have what lives, and nothing else. */
function compare(lab: Lab, model: Model): void {
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
}

async function runSeed(seed: number): Promise<void> {
  console.log(`seed ${seed}`)
  using lab = new Lab()
  const runner = new Runner(lab, new Chance(seed))
  const { model } = runner
  let isOver = false
  const watching = observe(lab, () => isOver)
  watching.catch(() => {}) // awaited below
  await runner.run(STEPS).finally(() => {
    isOver = true
  })
  const looks = await watching
  for (const network of NETWORKS) await model.gc(network)
  await model.checkAll()
  compare(lab, model)
  const live = model.live.length
  await model.delAll()
  compare(lab, model)
  const calls = Object.entries(model.done).map(([kind, count]) => `${count} ${kind}`)
  console.log(
    `figure: concurrency, seed ${seed}: ${calls.join(', ')}, ${AT_ONCE} at a time; ${runner.kills} agents killed; ` +
      `${live} links at the end as the model has them, none after the last DEL; node looked at ${looks} times, no address twice`,
  )
  await eventually('no agent is left', () => holder(lab) === undefined, 60)
}

for (let index = 0; index < SEEDS; index++)
  test(`calls at once, ${index + 1}: kernel, leases, records and firewall are as the model has them`, () => runSeed(firstSeed() + index))

test.run()
