/** Processes in network namespaces, and what they print. */
import { type ChildProcess, spawn } from 'node:child_process'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { eventually } from './support.ts'

/** A program of this directory, such as transfer.ts, as a command. */
export const program = (name: string, ...args: string[]) => [process.execPath, join(import.meta.dirname, `${name}.ts`), ...args]

/** Starts a command in a network namespace. */
export const start = (netns: string, ...command: string[]) =>
  spawn('ip', ['netns', 'exec', netns, ...command], { stdio: ['ignore', 'pipe', 'inherit'] })

/** Everything that `child` prints on stdout until it ends. */
export function output(child: ChildProcess): { text: () => string; ended: Promise<string> } {
  let text = ''
  child.stdout!.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
  return { text: () => text, ended: new Promise(done => child.on('close', () => done(text))) }
}

export interface Transfer {
  from: string
  to: string
  address: string
  port: number
  bytes: number
  /** Milliseconds after each MiB. */
  pauseMs?: number
}

/** TCP from one namespace to another. All that was sent arrives, whatever `during` does. */
export async function transfer({ from, to, address, port, bytes, pauseMs = 0 }: Transfer, during = async () => {}): Promise<void> {
  const receiving = output(start(to, ...program('transfer', 'receive', String(port))))
  await eventually('the receiver listens', () => receiving.text().includes('listening'))
  const sending = output(start(from, ...program('transfer', 'send', address, String(port), String(bytes), String(pauseMs))))
  await during()
  const [sent, received] = await Promise.all([sending.ended, receiving.ended])
  assert.match(sent, new RegExp(`^${bytes} `), 'all was sent')
  assert.is(received.replace('listening\n', ''), sent)
}
