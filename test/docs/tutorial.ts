/**
 * Runs what a page tells its reader to type: every block fenced with ```sh, one after another, in
 * one shell that stops at the first command that fails. A ```text block right behind a ```sh block
 * is what the commands print: each of its lines must be in the output, in that order. In such a
 * line `...` stands for anything, and a line of `...` alone for any lines. The machine stays as it
 * is: see test/docs/apart.
 */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'

const ROOT = resolve(import.meta.dirname, '../..')

export interface Block {
  /** Of the page, counted from 1: where the commands begin. */
  line: number
  commands: string
  /** What the page says that they print; undefined where it says nothing. */
  expected?: string
}

export interface RanBlock extends Block {
  /** What they printed on stdout and stderr. */
  output: string
}

/** The ```sh blocks of a page, each with the ```text block right behind it. */
export function blocksOf(markdown: string): Block[] {
  const fences = [...markdown.matchAll(/^( *)```(\w*)[^\n]*\n(.*?)^ *```$/gms)]
  return fences.flatMap(({ 0: whole, index, 1: indent, 2: language, 3: text }, at) => {
    if (language !== 'sh') return []
    const next = fences[at + 1]
    const follows = next?.[2] === 'text' && markdown.slice(index + whole.length, next.index).trim() === ''
    const plain = (block: string) => block.replaceAll(new RegExp(`^${indent}`, 'gm'), '')
    return {
      line: markdown.slice(0, index).split('\n').length + 1,
      commands: plain(text!),
      ...(follows ? { expected: plain(next[3]!) } : {}),
    }
  })
}

/**
 * Runs the page `file`, a path from the root of the repository, which is the current directory of
 * its commands. `prelude` is shell code that runs before the first block, such as a function in the
 * place of a command that has no network here. Throws an error that names the line of the block
 * that failed, with its output.
 */
export const runTutorial = (file: string, env: Record<string, string> = {}, prelude = ''): RanBlock[] =>
  runBlocks(file, env, prelude, [join(ROOT, 'test/docs/apart')])

/** runTutorial() on the machine itself, or wherever the command `wrapper` runs what follows it. */
export function runBlocks(file: string, env: Record<string, string>, prelude: string, wrapper: string[] = []): RanBlock[] {
  const blocks = blocksOf(readFileSync(join(ROOT, file), 'utf8'))
  if (blocks.length === 0) throw new Error(`${file} has no commands: no block is fenced with sh`)
  const script = ['exec 2>&1 </dev/null', prelude, ...blocks.map(({ line, commands }) => `printf '${MARK}${line}\\n'\n${commands}`)].join(
    '\n',
  )
  const [command, ...args] = [...wrapper, 'bash', '-euo', 'pipefail', '-c', script]
  const { status, stdout, stderr, error } = spawnSync(command!, args, {
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'pipe'],
    encoding: 'utf8',
    env: { PATH: process.env.PATH, HOME: '/root', LC_ALL: 'C.UTF-8', ...env },
    maxBuffer: 64 << 20,
    timeout: 600_000,
    killSignal: 'SIGKILL',
  })
  const [before, ...outputs] = stdout.split(MARK)
  const ran = outputs.map((text, at) => ({ ...blocks[at]!, output: text.slice(text.indexOf('\n') + 1) }))
  if (status !== 0 || error !== undefined) {
    const last = ran.at(-1)
    const place = last === undefined ? file : `${file}:${last.line}`
    const reason = error?.message ?? `exit status ${status}`
    throw new Error(`${place}: ${reason}\n${last?.commands ?? ''}--- printed\n${last?.output ?? before}${stderr}`)
  }
  if (ran.length !== blocks.length)
    throw new Error(`${file}:${ran.at(-1)?.line ?? 1}: the shell ended here, and ${blocks.length - ran.length} blocks did not run`)
  for (const block of ran) verifyOutput(file, block)
  return ran
}

/** Stands before the output of each block, with its line. */
const MARK = '\u001e'

function verifyOutput(file: string, { line, expected, output }: RanBlock): void {
  const printed = output.split('\n').map(words)
  let from = 0
  for (const wanted of (expected ?? '').split('\n').map(words)) {
    if (wanted === '' || wanted === '...') continue
    const at = printed.findIndex((text, index) => index >= from && pattern(wanted).test(text))
    if (at < 0) throw new Error(`${file}:${line}: ${JSON.stringify(wanted)} was not printed, or not in this order, but\n${output}`)
    from = at + 1
  }
}

const words = (line: string) => line.trim().replaceAll(/\s+/g, ' ')

const pattern = (line: string) => new RegExp(`^${line.split('...').map(literal).join('.*')}$`)

const literal = (text: string) => text.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')
