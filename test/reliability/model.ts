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

/**
 * An ADD takes some tens of milliseconds on a calm machine, a DEL fewer: kills come at any part.
 */
const LATEST_KILL_MS = 250

export class Model {
  readonly slots: Slot[]
  /** How often each kind of call was made. */
  readonly done: Record<string, number> = {}
  readonly #lab: Lab
  readonly #chance: Chance
  readonly #owners = new Map<string, Slot>()
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
    this.#must(await this.#call('GC', own[0]!, conf))
    for (const slot of own) if (slot.state === 'lost') slot.state = 'none'
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
    for (const address of addressesOf(answer.json)) {
      const other = this.#owners.get(address)
      assert.is(other, undefined, `${address} of ${slot.containerID} is that of ${other?.containerID} too`)
      this.#owners.set(address, slot)
    }
    Object.assign(slot, { state: 'live', result: answer.json })
  }

  /** The runtime kills the plugin, and either sends a DEL or ends as well. */
  async #addAndGiveUp(slot: Slot): Promise<void> {
    slot.containerID = `c${this.#serial++}`
    await this.#call('ADD', slot, confOf(slot.network), this.#chance.below(LATEST_KILL_MS))
    this.#count('ADD given up')
    if (this.#chance.happens(40)) slot.state = 'lost'
    else this.#must(await this.#delOnce(slot))
  }

  async #addTwice(slot: Slot): Promise<void> {
    const { status, json, text } = await this.#call('ADD', slot)
    assert.is(status, 1, text)
    assert.is(json.code, 4, text)
  }

  async #check(slot: Slot): Promise<void> {
    this.#must(await this.#call('CHECK', slot, { ...confOf(slot.network), prevResult: slot.result }))
  }

  /** Perhaps killed, then once more. */
  async #del(slot: Slot): Promise<void> {
    if (this.#chance.happens(25)) {
      this.#forget(slot)
      await this.#call('DEL', slot, confOf(slot.network), this.#chance.below(LATEST_KILL_MS))
      this.#count('DEL killed')
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

  #call(command: 'ADD' | 'DEL' | 'CHECK' | 'GC', { containerID, netns }: Slot, conf?: object, killAfterMs?: number): Promise<Answer> {
    this.#count(command)
    const own = conf ?? confOf(this.slots.find(slot => slot.netns === netns)!.network)
    return call(this.#lab, { command, containerID, netns, conf: own, ...(killAfterMs === undefined ? {} : { killAfterMs }) })
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
