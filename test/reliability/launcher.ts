/**
 * `launcher.ts NETNS`: starts processes in a network namespace, each supervised: see seccomp.ts.
 * Lines in: what to start; lines out: that it runs, and how it ended. It ends with its input.
 */
import { spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { setns } from '../../src/linux/libc.ts'
import { CLONE_NEWNET } from '../../src/linux/uapi.ts'
import { beSupervised } from './seccomp.ts'
import { INSIDE } from './system-calls.ts'

export interface Start {
  id: number
  command: string[]
  env: Record<string, string | undefined>
  stdin: string
}

export type Report = { id: number; pid: number } | ({ id: number } & Ended)

export interface Ended {
  status: number | null
  signal: string | null
  stdout: string
  stderr: string
}

const say = (report: Report) => process.stdout.write(`${JSON.stringify(report)}\n`)

function start({ id, command, env, stdin }: Start): void {
  const child = spawn(command[0]!, command.slice(1), { env, detached: true })
  child.on('spawn', () => say({ id, pid: child.pid! }))
  const [stdout, stderr]: [string[], string[]] = [[], []]
  child.stdout.setEncoding('utf8').on('data', (text: string) => stdout.push(text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => stderr.push(text))
  child.stdin.on('error', () => {}) // killed before it has read
  child.stdin.end(stdin)
  child.on('close', (status, signal) => say({ id, status, signal, stdout: stdout.join(''), stderr: stderr.join('') }))
}

const netns = openSync(`/run/netns/${process.argv[2]}`, 'r')
setns(netns, CLONE_NEWNET)
closeSync(netns)
createInterface({ input: process.stdin })
  .on('line', line => start(JSON.parse(line) as Start))
  .on('close', () => process.exit())
beSupervised(INSIDE)
