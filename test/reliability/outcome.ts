/** What a sweep looks at after each point. */
import { eventually } from '../support.ts'
import { type Bench, describe, type Ran } from './bench.ts'
import type { Scenario } from './scenarios.ts'

/** Ends the agent and takes out whatever the pod has, so that the next point begins anew. */
export async function clean(bench: Bench, { conf }: Scenario): Promise<void> {
  await bench.endAgent()
  await bench.must('DEL', { ...conf, agent: { spawn: false } })
  bench.wipe()
}

/** What is different from `before`, as a sentence. */
export async function leftovers(bench: Bench, before: string): Promise<string[]> {
  const after = bench.state()
  const faults = after === before ? [] : [`something is left or gone:\n${difference(before, after)}`]
  // The kernel takes a TUN from those who have it open a moment after nobody can see it any more.
  await eventually('the agent holds the TUN of the neighbour alone', () => bench.heldTuns() <= 1, 5).catch(error =>
    faults.push(error.message),
  )
  return faults
}

/** Lines that came and went. */
export function difference(before: string, after: string): string {
  const [old, now] = [before.split('\n'), after.split('\n')]
  const gone = old.filter(line => !now.includes(line)).map(line => `- ${line}`)
  return [...gone, ...now.filter(line => !old.includes(line)).map(line => `+ ${line}`)].join('\n')
}

/** Prints faults at once: a whole sweep takes an hour, and the runner prints them at its end. */
export function told(faults: string[]): string[] {
  for (const fault of faults) console.log(`fault: ${fault}`)
  return faults
}

/** A link that an ADD has reported is whole: CHECK finds no fault, and it carries a packet. */
export async function linkFaults(bench: Bench, { wire, conf }: Scenario, added: Ran): Promise<string[]> {
  const check = await bench.verb('CHECK', { ...conf, prevResult: added.json })
  if (check.status !== 0) return [`CHECK of the link: ${describe(check)}`]
  return wire === 'attach' || (await bench.pings()) ? [] : ['the link carries no packet']
}

/** What is wrong with the answer of a verb that failed. */
export function answerFaults(ran: Ran): string[] {
  if (ran.hangs) return ['it hangs']
  const { code, msg } = ran.json ?? {}
  const isClean = ran.status === 1 && Number.isSafeInteger(code) && code > 0 && typeof msg === 'string' && msg.length > 0
  return isClean ? [] : [`no clean error: ${describe(ran)}`]
}
