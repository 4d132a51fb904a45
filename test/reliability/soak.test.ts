/**
 * ADD, traffic, DEL, again and again: nothing of the agent or the kernel grows. 100 pairs,
 * TUNLINK_LONG=1: 10,000.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { IN, OUT } from '../../src/wire/programs.ts'
import { holder } from '../agent/agents.ts'
import { eventually, Lab, pings } from '../support.ts'
import { bpfPrograms } from './bpf-programs.ts'
import { call } from './calls.ts'
import { nftElements, nodeEnds } from './kernel-state.ts'

const test = suite('soak')
const isLong = process.env.TUNLINK_LONG === '1'
const PAIRS = isLong ? 10_000 : 100
/** Pods that come and go beside each other. */
const LANES = 4
/** What a process takes once, it takes in so many pairs: then the first measurement. */
const WARM_UP = PAIRS / 5
/**
 * What each figure may grow by. A garbage collector gives memory back when it likes: a leak of 4
 * KiB a pair would be 31 MiB in the long run. Threads and descriptors of a pool come and go: a leak
 * would be one a pair. Programs are counted by their names, which are the same for every tunlink:
 * so many may other tests on this machine load meanwhile, in a short run and in a long one.
 */
const SLACK: Measured = { rssMiB: 24, descriptors: 4, threads: 4, links: 0, files: 0, elements: 0, programs: 64 }

interface Measured {
  rssMiB: number
  descriptors: number
  threads: number
  links: number
  files: number
  elements: number
  programs: number
}

function measure(lab: Lab, pid: number): Measured {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const field = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)![1])
  return {
    rssMiB: Math.round(field('VmRSS') / 1024),
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
    threads: field('Threads'),
    links: nodeEnds(lab).length,
    files: lab.files().length,
    elements: Object.values(nftElements(lab.node)).flat().length,
    programs: bpfPrograms(OUT, IN),
  }
}

/** The figures that have grown, in words; '' where none has. */
const grown = (first: Measured, last: Measured): string =>
  (Object.keys(SLACK) as (keyof Measured)[])
    .filter(what => last[what] - first[what] > SLACK[what])
    .map(what => `${what}: ${first[what]}, then ${last[what]}`)
    .join('; ')

for (const wire of ['kernel', 'thread'] as const)
  test(`${wire} wire: ${PAIRS} times ADD, ping and DEL leave memory, descriptors and the kernel as they were`, async () => {
    using lab = new Lab()
    const conf = { wire, ipMasq: true, agent: { idleSeconds: 0 } }
    const resident = lab.netns()
    lab.must('ADD', resident, conf) // one that stays
    const agent = holder(lab)!
    const pods = Array.from({ length: LANES }, () => lab.netns())
    let serial = 0
    const pair = async (netns: string) => {
      const containerID = `c${serial++}`
      const added = await call(lab, { command: 'ADD', containerID, netns, conf })
      assert.is(added.status, 0, added.text)
      assert.ok(pings(netns, '10.66.0.1'))
      const deleted = await call(lab, { command: 'DEL', containerID, netns, conf })
      assert.is(deleted.status, 0, deleted.text)
    }
    const pairs = async (until: number) => {
      const lane = async (netns: string) => {
        while (serial < until) await pair(netns)
      }
      await Promise.all(pods.map(lane))
    }
    await pairs(WARM_UP)
    const first = measure(lab, agent)
    const started = Date.now()
    await pairs(PAIRS)
    const perPair = (Date.now() - started) / (PAIRS - WARM_UP)
    let last = measure(lab, agent)
    // The agent deletes behind its answers, and gives memory back when it has been at rest.
    await eventually('the agent and the kernel are as they were', () => {
      last = measure(lab, agent)
      return !grown(first, last)
    }).catch(() => assert.unreachable(grown(first, last)))
    console.log(
      `figure: soak, ${wire} wire: ${serial} pairs of ADD and DEL with a ping, ${LANES} at a time, ${perPair.toFixed(0)} ms each; ` +
        `after ${WARM_UP} and at the end: ${JSON.stringify(first)} ${JSON.stringify(last)}`,
    )
    assert.is(holder(lab), agent, 'one agent did it all')
    assert.ok(pings(resident, '10.66.0.1'))
  })

test.run()
