/** Rows as a Markdown table, and its place in a page. */
import { aim, digits, type Row, verdict } from './measure.ts'

export function table(rows: Row[]): string {
  const cells = (row: Row) => {
    const { what, unit, ours, theirs, peer, ratio } = row
    const against = theirs === undefined ? '' : `${peer} ${digits(theirs)} ${unit}`.trim()
    return [what, `${digits(ours)} ${unit}`.trim(), against, ratio?.toFixed(2) ?? '', aim(row), verdict(row) ?? '']
  }
  const lines = [['', 'tunlink', 'peer', 'ratio', 'target', ''], ['---', '---', '---', '---', '---', '---'], ...rows.map(cells)]
  return lines.map(words => `| ${words.join(' | ')} |`).join('\n')
}

const BEGIN = '<!-- results -->'
const END = '<!-- end of results -->'

/**
 * `page` with `text` in the place of what is between its two markers. Throws when it has no such
 * place.
 */
export function insert(page: string, text: string): string {
  const [begin, end] = [page.indexOf(BEGIN), page.indexOf(END)]
  if (begin < 0 || end < begin) throw new Error(`The page has no ${BEGIN} that is followed by ${END}`)
  return `${page.slice(0, begin + BEGIN.length)}\n${text}\n${page.slice(end)}`
}
