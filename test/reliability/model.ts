/**
 * A runtime that remembers what it has asked for: it makes one call on an attachment at a time, and
 * no GC of a network beside another call on that network, as the CNI specification says.
 */
import * as assert from 'uvu/assert'
import type { Lab } from '../support.ts'
import { type Answer, call } from './calls.ts'
import type { Chance } from './random.ts'

/**
 * Of an attachment: `none`, `live`, or `lost`: the runtime ended during the ADD and knows of none.
 */
type State = 'none' | 'live' | 'lost'

/** A pod that comes again and again, each time with an ID of its own. */
export interface Slot {
  network: string
  netns: string
  containerID: string
  state: State
  // biome-ignore lint/suspicious/noExplicitAny: a CNI result
  result?: any
}

type Command = 'ADD' | 'DEL' | 'CHECK' | 'GC'

export class Model {
  readonly slots: Slot[]
  /** How often each kind of call was made; "killed": how often a kill came before its end. */
  readonly done: Record<string, number> = {}
  readonly #lab: Lab
  readonly #chance: Chance
  readonly #owners = new Map<string, Slot>()
  /** How long the last call took that nobody killed: the last third goes to the process's end. */
  readonly #tookMs: Record<Command, number> = { ADD: 250, DEL: 250, CHECK: 250, GC: 250 }
  #serial = 0

  constructor(lab: Lab, chance: Chance, networks: string[], podsEach: number) {
    this.#lab = lab
    this.#chance = chance
    this.slots = networks.flatMap(network =>
      Array.from({ length: podsEach }, (): Slot => ({ network, netns: lab.netns(), containerID: '', state: 'none' })),
    )
  }

  /** One call, or as many as a killed one needs, on a pod that no other call is about. */
  async step(slot: Slot): Promise<void> {
    // as a runtime does that finds it in its files
    if (slot.state === 'lost') return this.#del(slot)
    if (slot.state === 'none') return this.#chance.happens(25) ? this.#addAndGiveUp(slot) : this.#add(slot)
    if (this.#chance.happens(30)) return this.#check(slot)
    if (this.#chance.happens(10)) return this.#addTwice(slot)
    return this.#del(slot)
  }

  /** GC of a network that no other call is about; whatever was lost is gone after it. */
  async gc(network: string): Promise<void> {
    const own = this.slots.filter(slot => slot.network === network)
    const valid = own.filter(({ state }) => state === 'live').map(({ containerID }) => ({ containerID, ifname: 'eth0' }))
    const conf = { ...confOf(network), 'cni.dev/valid-attachments': valid }
    if (this.#chance.happens(75)) await this.#kill('GC', own[0]!, conf)
    this.#must(await this.#call('GC', own[0]!, conf))
    for (const slot of own.filter(({ state }) => state === 'lost')) {
      this.#forget(slot)
      slot.state = 'none'
    }
  }

  /** CHECK of all that live. */
  async checkAll(): Promise<void> {
    for (const slot of this.live) await this.#check(slot)
  }

  async delAll(): Promise<void> {
    for (const slot of this.live) this.#must(await this.#delOnce(slot))
  }

  get live(): Slot[] {
    return this.slots.filter(({ state }) => state === 'live')
  }

  async #add(slot: Slot): Promise<void> {
    slot.containerID = `c${this.#serial++}`
    const answer = this.#must(await this.#call('ADD', slot))
    this.#own(slot, answer)
    Object.assign(slot, { state: 'live', result: answer.json })
  }

  #own(slot: Slot, { json }: Answer): void {
    for (const address of addressesOf(json)) {
      const other = this.#owners.get(address)
      assert.is(other, undefined, `${address} of ${slot.containerID} is that of ${other?.containerID} too`)
      this.#owners.set(address, slot)
    }
  }

  /** The runtime kills the plugin, and either sends a DEL or ends as well. */
  async #addAndGiveUp(slot: Slot): Promise<void> {
    slot.containerID = `c${this.#serial++}`
    const answer = await this.#kill('ADD', slot)
    if (answer.status === 0) this.#own(slot, answer)
    if (this.#chance.happens(40)) slot.state = 'lost'
    else this.#must(await this.#delOnce(slot))
  }

  async #addTwice(slot: Slot): Promise<void> {
    const { status, json, text } = await this.#call('ADD', slot)
    assert.is(status, 1, text)
    assert.is(json.code, 4, text)
  }

  async #check(slot: Slot): Promise<void> {
    const conf = { ...confOf(slot.network), prevResult: slot.result }
    if (this.#chance.happens(25)) await this.#kill('CHECK', slot, conf)
    this.#must(await this.#call('CHECK', slot, conf))
  }

  /** Perhaps killed, then once more. */
  async #del(slot: Slot): Promise<void> {
    if (this.#chance.happens(25)) {
      this.#forget(slot)
      await this.#kill('DEL', slot)
    }
    this.#must(await this.#delOnce(slot))
  }

  /** The addresses may be another's from the moment of the call. */
  async #delOnce(slot: Slot): Promise<Answer> {
    this.#forget(slot)
    const answer = await this.#call('DEL', slot)
    if (answer.status === 0) slot.state = 'none'
    return answer
  }

  #forget(slot: Slot): void {
    for (const [address, owner] of this.#owners) if (owner === slot) this.#owners.delete(address)
  }

  /** A call that is killed at any part of it, or a little too late: then it must have succeeded. */
  async #kill(command: Command, slot: Slot, conf?: object): Promise<Answer> {
    const answer = await this.#call(command, slot, conf, this.#chance.below((2 / 3) * this.#tookMs[command]))
    if (answer.status === undefined) this.#count(`${command} killed`)
    else this.#must(answer)
    return answer
  }

  async #call(command: Command, slot: Slot, conf: object = confOf(slot.network), killAfterMs?: number): Promise<Answer> {
    this.#count(command)
    const { containerID, netns } = slot
    const startedMs = performance.now()
    const answer = await call(this.#lab, { command, containerID, netns, conf, ...(killAfterMs === undefined ? {} : { killAfterMs }) })
    if (killAfterMs === undefined) this.#tookMs[command] = performance.now() - startedMs
    return answer
  }

  #count(kind: string): void {
    this.done[kind] = (this.done[kind] ?? 0) + 1
  }

  #must(answer: Answer): Answer {
    assert.is(answer.status, 0, `a call failed that nobody had killed: ${answer.text}`)
    return answer
  }
}

/** Small pools, so that each address is soon somebody else's. */
const SUBNETS: Record<string, [string, string]> = {
  red: ['10.66.0.0/27', 'fd66::/123'],
  blue: ['10.67.0.0/27', 'fd67::/123'],
}

export const confOf = (name: string) => ({
  name,
  ipMasq: true,
  ipam: { type: 'tunlink', ranges: SUBNETS[name]!.map(subnet => [{ subnet }]) },
})

/** Of a CNI result, without prefixes. */
export const addressesOf = (result: { ips: { address: string }[] }): string[] => result.ips.map(({ address }) => address.split('/')[0]!)
