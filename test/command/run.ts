/** Runs the command line on the node of a Lab. */
import { spawn, spawnSync } from 'node:child_process'
import type { Lab, Output } from '../support.ts'

/** `wrapper` is a command in front, such as `unshare -m`. */
export function tunlink(lab: Lab, words: string[], wrapper: string[] = []): Output {
  const command = ['netns', 'exec', lab.node, ...wrapper, lab.executable, ...words]
  const { status, stdout, stderr } = spawnSync('ip', command, { encoding: 'utf8', env: { PATH: process.env.PATH } })
  const isJson = /^[[{]/.test(stdout)
  return { status, stdout, stderr, json: isJson ? JSON.parse(stdout) : undefined }
}

/** The same, not waited for. Its standard output is a pipe. */
export const tunlinkBeside = (lab: Lab, words: string[]) =>
  spawn('ip', ['netns', 'exec', lab.node, lab.executable, ...words], { env: { PATH: process.env.PATH }, stdio: ['ignore', 'pipe', 'pipe'] })
