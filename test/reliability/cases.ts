/** Counts the cases of a property, and says how many there were in the line that is kept. */
import fc from 'fast-check'

/**
 * Runs `body` on `count` cases. Throws with the seed and the smallest case that fails. The time of
 * an answer is measured by who runs a process for it: see answer-times.ts.
 */
export function cases<T>(what: string, count: number, arbitrary: fc.Arbitrary<T>, body: (value: T) => void): void {
  let done = 0
  fc.assert(
    fc.property(arbitrary, value => {
      done++
      body(value)
    }),
    { numRuns: count },
  )
  console.log(`\nfigure: input, ${what}: ${done} cases`)
}

/** The same for a body that waits. Begins with the cases of `first`, which are counted as well. */
export async function casesAsync<T>(
  what: string,
  count: number,
  arbitrary: fc.Arbitrary<T>,
  body: (value: T) => Promise<void>,
  first: T[] = [],
): Promise<void> {
  let done = 0
  const property = fc.asyncProperty(arbitrary, async value => {
    done++
    await body(value)
  })
  await fc.assert(property, { numRuns: count, examples: first.map((value): [T] => [value]) })
  console.log(`\nfigure: input, ${what}: ${done} cases`)
}
