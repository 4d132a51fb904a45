/** Prose and comments are at most 100 columns wide. Tables, code and JSON may be wider. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

const ROOT = resolve(import.meta.dirname, '../..')
const MOST_COLUMNS = 100
const test = suite('columns')

/** A line that is a comment, or ends with one. `#name` is a private field. */
const COMMENT = /^\s*(\/\/|\*|\/\*|#\W)|\s(\/\/|#) /
/** What stands in quotes before a comment may look like one. */
const QUOTED = /'[^']*'|"[^"]*"|`[^`]*`/g

/** Text outside fenced blocks and tables. */
const isProse = (line: string, isFenced: boolean) => !isFenced && !line.startsWith('|') && !/^ {4}/.test(line)

const isComment = (line: string) => COMMENT.test(line.replace(QUOTED, "''"))

function tooWide(path: string): string[] {
  const isMarkdown = path.endsWith('.md')
  let isFenced = false
  return readFileSync(join(ROOT, path), 'utf8')
    .split('\n')
    .flatMap((line, index) => {
      if (isMarkdown && line.startsWith('```')) isFenced = !isFenced
      if (line.length <= MOST_COLUMNS || !(isMarkdown ? isProse(line, isFenced) : isComment(line))) return []
      return [`${path}:${index + 1}: ${line.length} columns`]
    })
}

test('of each file of the repository', () => {
  const tracked = execFileSync('git', ['ls-files', '-z'], { cwd: ROOT, encoding: 'utf8' }).split('\0').filter(Boolean)
  const paths = tracked.filter(path => !/\.(json|jsonl|svg|txt|nft|owner)$|^LICENSE$/.test(path))
  assert.ok(paths.length > 300, `${paths.length} files`)
  assert.equal(paths.flatMap(tooWide), [])
})

test.run()
