/**
 * Promise 2 of docs/reliability.md: whatever system call fails, once or from then on, a verb
 * succeeds or says in CNI's words what went wrong; nothing is half there, and nothing is forgotten.
 */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { EXECUTABLES, eventually } from '../support.ts'
import { Bench, describe, type Ran } from './bench.ts'
import { Budget, chosen, isWanted, MOST_STRIKE, SEED, shuffled, TRIES } from './budget.ts'
import { errnosOf, isOurs, numberOf } from './errnos.ts'
import { answerFaults, clean, difference, leftovers, linkFaults, told } from './outcome.ts'
import { perform, prepare, SCENARIOS, type Scenario } from './scenarios.ts'
import type { Point } from './watch.ts'

interface Injection {
  point: Point
  errno: string
  /** Every call of the same name fails from then on, those of the undo too. */
  isLasting: boolean
}

const test = suite('errors')
const scenarios = chosen(SCENARIOS)
const budget = new Budget(scenarios.length)
const total = { injections: 0, done: 0, hit: 0, failed: 0 }

let bench: Bench
test.before(async () => {
  bench = await Bench.start(EXECUTABLES[0]![1])
})
test.after(async () => {
  const { injections, done, hit, failed } = total
  console.log(`figure: errors: ${done} of ${injections} injections, ${hit} struck; ${failed} made the verb fail, with a clean error`)
  await bench.close()
})

for (const scenario of scenarios)
  test(scenario.name, async () => {
    await clean(bench, scenario)
    const before = bench.state()
    await prepare(bench, scenario, false)
    const { ran, watch } = await perform(bench, scenario, { counts: isOurs })
    if (scenario.verb !== 'agent') assert.is(ran.status, 0, describe(ran))
    assert.ok(watch.points.length > 0, 'the process was watched')
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

for (const [what, name, about, nth, errno] of [
  ['read its records reads them later', 'read', '/links/', 1, 'EIO'],
  ['accept connections ends, although it has taken up links', 'listen', '', 2, 'ENOMEM'],
] as const)
  test(`an agent that cannot ${what}`, async () => {
    const scenario = SCENARIOS.find(({ verb, wire }) => verb === 'agent' && wire === 'thread')!
    await clean(bench, scenario)
    await prepare(bench, scenario, false)
    const before = bench.state()
    const action = { point: { name, nth, what: about, changes: false }, verdict: numberOf(errno), isLasting: true }
    const { ran, watch } = await perform(bench, scenario, { counts: (call, what) => call === name && what.includes(about), action })
    assert.ok(watch.isHit)
    assert.equal(await faultsOfStart(scenario, ran, false, before), [])
    await clean(bench, scenario)
  })

test('nearly every injection struck a call', () => assert.ok(total.hit >= MOST_STRIKE * total.done, JSON.stringify(total)))

test('the neighbour with a kernel wire has not lost a packet', () => bench.verifyNeighbour('errors'))

const nameOf = ({ point, errno, isLasting }: Injection) =>
  `${errno}${isLasting ? ' from' : ' at'} ${point.name} ${point.nth} (${point.what})`

const injectionsAt = (points: Point[]): Injection[] =>
  points.flatMap(point => [false, true].flatMap(isLasting => errnosOf(point.name, isLasting).map(errno => ({ point, errno, isLasting }))))

/** What is wrong after a call has failed. */
async function failAt(scenario: Scenario, injection: Injection, before: string): Promise<string[]> {
  const faults: string[] = []
  let isHit = false
  for (let tries = 0; tries < TRIES && !isHit && faults.length === 0; tries++) {
    try {
      await prepare(bench, scenario, bench.hasLink())
      const begun = scenario.verb === 'agent' ? bench.state() : before
      const { ran, watch } = await perform(bench, scenario, { counts: isOurs, action: actionOf(injection) })
      isHit = watch.isHit
      faults.push(...(await faultsAfter(scenario, injection, ran, begun)))
    } catch (error) {
      faults.push((error as Error).message)
    }
  }
  if (isHit) total.hit++
  if (faults.length > 0) await clean(bench, scenario)
  return faults
}

const actionOf = ({ point, errno, isLasting }: Injection) => ({ point, verdict: numberOf(errno), isLasting })

async function faultsAfter(scenario: Scenario, { point, isLasting }: Injection, ran: Ran, before: string): Promise<string[]> {
  // whose writes all fail cannot answer
  const isMute = isLasting && point.name === 'write' && ran.signal === null && !ran.hangs
  if (scenario.verb === 'agent') return faultsOfStart(scenario, ran, isMute, before)
  if (ran.status === 0) return faultsOfSuccess(scenario, ran, before)
  return [...(isMute ? [] : answerFaults(ran)), ...(await faultsOfFailure(scenario, ran, isLasting, before))]
}

/** What an agent ends with; not what its runtime prints when it aborts. */
const SAID = /^(tunlink\b|Cannot )/m

/** The agent serves, or has said why not; the next one has all links. */
async function faultsOfStart({ wire }: Scenario, ran: Ran, isMute: boolean, before: string): Promise<string[]> {
  const faults: string[] = []
  const hasEnded = ran.status !== null || ran.signal !== null
  if (hasEnded) total.failed++
  if (hasEnded && !isMute && !SAID.test(ran.stderr)) faults.push(`no words at its end: ${describe(ran)}`)
  await bench.agent()
  await eventually(`the ${wire} wire carries packets`, () => bench.pings(), 30).catch(error => faults.push(error.message))
  const after = bench.state()
  return after === before ? faults : [...faults, `the link was changed:\n${difference(before, after)}`]
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
