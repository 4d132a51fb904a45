/** The name that somebody meant who has slipped. Pure. */

/** A word this long may have two slips; a shorter one would be taken for what it is not. */
const LONG = 6

/**
 * The one of `names` that differs from `word` in case alone, else the nearest that is a slip or two
 * away: a letter too many, too few, another, or two that have changed places.
 */
export function nearest<T extends string>(word: string, names: readonly T[]): T | undefined {
  let found: { name: T; slips: number } | undefined
  for (const name of names) {
    const most = Math.min(name.length, word.length) < LONG ? 1 : 2
    if (Math.abs(name.length - word.length) > most) continue
    const slips = distance(word.toLowerCase(), name.toLowerCase())
    if (slips <= most && slips < (found?.slips ?? Number.POSITIVE_INFINITY)) found = { name, slips }
  }
  return found?.name
}

/** Optimal string alignment: the least number of slips between two words. */
function distance(one: string, other: string): number {
  const rows: number[][] = [Array.from({ length: other.length + 1 }, (_, at) => at)]
  for (let i = 1; i <= one.length; i++) {
    const row = [i]
    for (let j = 1; j <= other.length; j++) {
      const isSame = one[i - 1] === other[j - 1]
      row[j] = Math.min(rows[i - 1]![j]! + 1, row[j - 1]! + 1, rows[i - 1]![j - 1]! + (isSame ? 0 : 1))
      const isSwapped = i > 1 && j > 1 && one[i - 1] === other[j - 2] && one[i - 2] === other[j - 1]
      if (isSwapped) row[j] = Math.min(row[j]!, rows[i - 2]![j - 2]! + 1)
    }
    rows.push(row)
  }
  return rows[one.length]![other.length]!
}
