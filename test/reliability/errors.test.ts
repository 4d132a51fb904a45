/**
 * Promise 2 of docs/reliability.md: whatever system call fails, once or from then on, a verb
 * succeeds or says in CNI's words what went wrong; nothing is half there, and nothing is forgotten.
 */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { EXECUTABLES } from '../support.ts'
import { Bench, describe, type Ran } from './bench.ts'
import { Budget, chosen, isWanted, SEED, shuffled } from './budget.ts'
import { errnosOf, isOurs, numberOf } from './errnos.ts'
import { answerFaults, clean, leftovers, linkFaults, told } from './outcome.ts'
import { perform, prepare, SCENARIOS, type Scenario } from './scenarios.ts'
import type { Point } from './watch.ts'

interface Injection {
  point: Point
  errno: string
  /** Every call of the same name fails from then on, those of the undo too. */
  isLasting: boolean
}

const test = suite('errors')
const scenarios = chosen(SCENARIOS.filter(({ verb }) => verb !== 'agent'))
const budget = new Budget(scenarios.length)
const total = { injections: 0, done: 0, failed: 0 }

let bench: Bench
test.before(async () => {
  bench = await Bench.start(EXECUTABLES[0]![1])
})
test.after(async () => {
  const { injections, done, failed } = total
  console.log(`figure: errors: ${done} of ${injections} injections; ${failed} made the verb fail, with a clean error`)
  await bench.close()
})

for (const scenario of scenarios)
  test(scenario.name, async () => {
    await clean(bench, scenario)
    const before = bench.state()
    await prepare(bench, scenario, false)
    const { ran, watch } = await perform(bench, scenario, { counts: isOurs })
    assert.is(ran.status, 0, describe(ran))
    const injections = shuffled(injectionsAt(watch.points), SEED).filter(injection => isWanted(nameOf(injection)))
    const untilMs = budget.next()
    const faults: string[] = []
    let done = 0
    for (const injection of injections) {
      if (done > 0 && Date.now() > untilMs) break
      done++
      faults.push(...told((await failAt(scenario, injection, before)).map(fault => `${nameOf(injection)}: ${fault}`)))
    }
    console.log(`figure: errors: ${scenario.name}: ${done} of ${injections.length} injections at ${watch.points.length} calls`)
    total.injections += injections.length
    total.done += done
    assert.equal(faults, [])
  })

test('a plugin that cannot leave the namespace of the pod answers, and leaves a record of what is there', async () => {
  const scenario = SCENARIOS.find(({ verb, wire, hasAgent }) => verb === 'ADD' && wire === 'kernel' && !hasAgent)!
  await clean(bench, scenario)
  const before = bench.state()
  await prepare(bench, scenario, false)
  const leaving = { name: 'setns', nth: 2, what: 'net:', changes: false }
  const action = { point: leaving, verdict: numberOf('ENOMEM'), isLasting: true }
  const { ran } = await perform(bench, scenario, { counts: isOurs, action })
  assert.equal(answerFaults(ran), [])
  assert.match(ran.json.msg, /Cannot leave a network namespace, so this process ends: setns: ENOMEM/)
  await bench.must('GC', scenario.conf)
  assert.equal(await leftovers(bench, before), [])
})

test('the neighbour with a kernel wire has not lost a packet', () => bench.verifyNeighbour('errors'))

const nameOf = ({ point, errno, isLasting }: Injection) =>
  `${errno}${isLasting ? ' from' : ' at'} ${point.name} ${point.nth} (${point.what})`

const injectionsAt = (points: Point[]): Injection[] =>
  points.flatMap(point => [false, true].flatMap(isLasting => errnosOf(point.name, isLasting).map(errno => ({ point, errno, isLasting }))))

/** What is wrong after a call has failed. */
async function failAt(scenario: Scenario, { point, errno, isLasting }: Injection, before: string): Promise<string[]> {
  const faults: string[] = []
  try {
    await prepare(bench, scenario, bench.hasLink())
    const action = { point, verdict: numberOf(errno), isLasting }
    const { ran } = await perform(bench, scenario, { counts: isOurs, action })
    if (ran.status === 0) faults.push(...(await faultsOfSuccess(scenario, ran, before)))
    else {
      // whose writes all fail cannot answer
      if (!isLasting || point.name !== 'write' || ran.hangs) faults.push(...answerFaults(ran))
      faults.push(...(await faultsOfFailure(scenario, ran, isLasting, before)))
    }
  } catch (error) {
    faults.push((error as Error).message)
  }
  if (faults.length > 0) await clean(bench, scenario)
  return faults
}

/** What it says is so. */
async function faultsOfSuccess(scenario: Scenario, ran: Ran, before: string): Promise<string[]> {
  if (scenario.verb !== 'ADD') return leftovers(bench, before)
  const faults = await linkFaults(bench, scenario, ran)
  await bench.must('DEL', scenario.conf)
  return [...faults, ...(await leftovers(bench, before))]
}

/**
 * An ADD has undone all, unless its undo failed, too. What is left then is on record: GC, which
 * knows no more than the records, removes it, as it removes what a DEL or a GC could not.
 */
async function faultsOfFailure(scenario: Scenario, ran: Ran, isLasting: boolean, before: string): Promise<string[]> {
  total.failed++
  const why = (faults: string[]) => faults.map(fault => `after ${describe(ran)}: ${fault}`)
  if (scenario.verb === 'ADD' && !isLasting) return why(await leftovers(bench, before))
  await bench.must('GC', scenario.conf)
  return why(await leftovers(bench, before))
}

test.run()
