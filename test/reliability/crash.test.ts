/**
 * Promise 1 of docs/reliability.md: a plugin or an agent that ends at any system call leaves
 * nothing that DEL does not remove, and no other pod loses a packet.
 */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { EXECUTABLES } from '../support.ts'
import { Bench, describe, type Ran } from './bench.ts'
import { Budget, chosen, isWanted, MOST_STRIKE, SEED, shuffled, TRIES } from './budget.ts'
import { answerFaults, clean, leftovers, told } from './outcome.ts'
import { perform, prepare, SCENARIOS, type Scenario } from './scenarios.ts'
import type { Point } from './watch.ts'

const test = suite('crash')
const scenarios = chosen(SCENARIOS)
const budget = new Budget(scenarios.length)
const total = { points: 0, done: 0, hit: 0 }

let bench: Bench
test.before(async () => {
  bench = await Bench.start(EXECUTABLES[0]![1])
})
test.after(async () => {
  console.log(`figure: crash: ${total.done} of ${total.points} points, the process was killed at ${total.hit}`)
  await bench.close()
})

for (const scenario of scenarios)
  test(scenario.name, async () => {
    await clean(bench, scenario)
    const before = bench.state()
    await prepare(bench, scenario, false)
    const { ran, watch } = await perform(bench, scenario, {})
    if (scenario.verb !== 'agent') assert.is(ran.status, 0, describe(ran))
    const { points } = watch
    assert.ok(points.length > 0, 'the process was watched')
    const untilMs = budget.next()
    const faults: string[] = []
    let [done, hit] = [0, 0]
    for (const point of inOrder(points).filter(point => isWanted(nameOf(point)))) {
      if (done > 0 && Date.now() > untilMs) break
      const outcome = await crashAt(scenario, point, before)
      done++
      if (outcome.isHit) hit++
      faults.push(...told(outcome.faults.map(fault => `${nameOf(point)}: ${fault}`)))
    }
    const changing = points.filter(({ changes }) => changes).length
    console.log(
      `figure: crash: ${scenario.name}: ${done} of ${points.length} points; ${Math.min(done, changing)} of ${changing} that change something`,
    )
    total.points += points.length
    total.done += done
    total.hit += hit
    assert.equal(faults, [])
  })

test('nearly every point was struck', () => assert.ok(total.hit >= MOST_STRIKE * total.done, JSON.stringify(total)))

test('the neighbour with a kernel wire has not lost a packet', () => bench.verifyNeighbour('crash'))

const nameOf = ({ name, nth, what }: Point) => `killed at ${name} ${nth} (${what})`

/**
 * First the calls that change something: to end the process at another one leaves what the next of
 * those would.
 */
const inOrder = (points: Point[]): Point[] => {
  const random = shuffled(points, SEED)
  return [...random.filter(({ changes }) => changes), ...random.filter(({ changes }) => !changes)]
}

/** What is wrong after the process was killed at `point`. */
async function crashAt(scenario: Scenario, point: Point, before: string): Promise<{ isHit: boolean; faults: string[] }> {
  const faults: string[] = []
  let isHit = false
  for (let tries = 0; tries < TRIES && !isHit && faults.length === 0; tries++) {
    try {
      await prepare(bench, scenario, bench.hasLink())
      const { ran, watch } = await perform(bench, scenario, { action: { point, verdict: 'kill' } })
      isHit = watch.isHit
      faults.push(...(await faultsAfter(scenario, ran, before)))
    } catch (error) {
      faults.push((error as Error).message)
    }
  }
  if (faults.length > 0) await clean(bench, scenario)
  return { isHit, faults }
}

async function faultsAfter({ conf, target, verb, wire }: Scenario, ran: Ran, before: string): Promise<string[]> {
  const faults = target === 'agent' && verb !== 'agent' && ran.status !== 0 ? answerFaults(ran) : []
  await bench.must('DEL', conf)
  faults.push(...(await leftovers(bench, before)))
  await bench.must('ADD', conf)
  if (wire !== 'attach' && !(await bench.pings())) faults.push('the next link carries no packet')
  return faults
}

test.run()
