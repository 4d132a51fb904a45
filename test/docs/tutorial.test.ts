/** The runner of the pages' commands itself: it can fail, and it touches nothing. */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { blocksOf, runTutorial } from './tutorial.ts'

const ROOT = resolve(import.meta.dirname, '../..')
const directory = mkdtempSync(join(ROOT, 'dist', 'tutorial-'))
const test = suite('tutorial')

/** A page of these blocks: `sh: COMMANDS` or `text: OUTPUT`. */
function page(...blocks: [string, string][]): string {
  const file = join(directory, 'page.md')
  writeFileSync(file, `# A page\n\nWords.\n\n${blocks.map(([language, text]) => `\`\`\`${language}\n${text}\n\`\`\`\n`).join('\n')}`)
  return relative(ROOT, file)
}

test('blocks run in one shell, in order, and see the environment and the prelude', () => {
  const file = page(['sh', 'A=1'], ['json', '{}'], ['sh', 'echo "$A $B $(c)"'])
  const ran = runTutorial(file, { B: '2' }, 'c() { echo 3; }')
  assert.equal(
    ran.map(({ line, output }) => [line, output]),
    [
      [6, ''],
      [14, '1 2 3\n'],
    ],
  )
})

test('blocks in a list lose their indentation', () => {
  assert.equal(blocksOf('1. Do\n\n   ```sh\n   cat <<END\n     x\n   END\n   ```\n'), [{ line: 4, commands: 'cat <<END\n  x\nEND\n' }])
})

for (const [what, blocks, message] of [
  ['a command fails', [['sh', 'echo seen\nfalse\necho not']], /page\.md:6: exit status 1(.*\n)*seen/],
  ['the first part of a pipe fails', [['sh', 'false | true']], /exit status 1/],
  ['a variable has no value', [['sh', 'echo "$nothing"']], /unbound variable/],
  [
    'a block ends the shell before the last one',
    [
      ['sh', 'exit 0'],
      ['sh', 'false'],
    ],
    /page\.md:6: the shell ended here, and 1 blocks did not run/,
  ],
  ['there are no commands', [['text', 'x']], /no commands/],
  [
    'a line is not printed',
    [
      ['sh', 'echo a'],
      ['text', 'b'],
    ],
    /page\.md:6: "b" was not printed/,
  ],
  [
    'lines are printed in another order',
    [
      ['sh', 'printf "a\\nb\\n"'],
      ['text', 'b\na'],
    ],
    /"a" was not printed/,
  ],
] as [string, [string, string][], RegExp][]) {
  test(`a page fails when ${what}`, () => {
    assert.throws(
      () => runTutorial(page(...blocks)),
      (error: Error) => message.test(error.message),
    )
  })
}

test('a text block with words before it is nobody’s output', () => {
  assert.equal(blocksOf('```sh\na\n```\n\nWords.\n\n```text\nb\n```\n'), [{ line: 2, commands: 'a\n' }])
})

test('... stands for what differs from run to run', () => {
  runTutorial(page(['sh', 'printf "pid 12  of x\\nmore\\nend (1)\\n"'], ['text', 'pid ... of x\n...\nend (1)']))
})

test('the machine has nothing of what commands do: files, links, namespaces, processes', () => {
  const name = `tutorial-${process.pid}`
  const commands = `touch /etc/${name} /tmp/${name} ${directory}/${name}; ip netns add ${name}; ip tuntap add ${name.slice(0, 15)} mode tun`
  runTutorial(page(['sh', `${commands}\n(sleep 1000.${process.pid} >/dev/null 2>&1 &)`]))
  for (const path of ['/etc', '/tmp', directory, '/run/netns']) assert.not.ok(existsSync(join(path, name)), path)
  assert.not.ok(existsSync(`/sys/class/net/${name.slice(0, 15)}`))
  assert.not.match(execFileSync('ps', ['-eo', 'args'], { encoding: 'utf8' }), new RegExp(`sleep 1000.${process.pid}`))
  assert.is(
    runTutorial(page(['sh', 'ls /run/netns /tmp/x || echo /proc/[0-9]*']))[0]!
      .output.split('\n')
      .at(-2),
    '/proc/1',
  )
})

test.after(() => rmSync(directory, { recursive: true, force: true }))

test.run()
