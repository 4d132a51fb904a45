/**
 * The agent renews itself by execve(2) of the new executable: the process stays, and its
 * descriptors of lock, socket and devices stay open. Nothing is handed from process to process.
 * Packets of thread wires wait in the devices' queues meanwhile.
 */
import { execFile } from 'node:child_process'
import { closeSync, fstatSync, readSync, statSync } from 'node:fs'
import { execute, markCloseOnExec, memoryFile } from '../linux/exec.ts'
import type { Kept } from './held-links.ts'
import { log } from './log.ts'
import { PROTOCOL } from './protocol.ts'

/** Environment variable: the descriptor of a file in memory that holds an Inherited. */
const STATE_FD = 'TUNLINK_AGENT_STATE_FD'
/** The new executable is tried first, and must answer within this time. */
const TRIAL_MS = 10_000

/** What the old program leaves to the new one. */
export interface Inherited {
  protocol: typeof PROTOCOL
  /** Descriptors of the lock and of the listening socket. */
  lock: number
  listening: number
  kept: Kept
}

/** The command that starts this program: the compiled executable alone, or Node and a script. */
export function ownCommand(): [string, ...string[]] {
  return process.versions.bun === undefined ? [process.execPath, ...process.execArgv, process.argv[1]!] : [process.execPath]
}

/** When this file is replaced, the process is outdated. */
const file = ownCommand().at(-1)!
const identity = ({ dev, ino, size, mtimeMs }: { dev: number; ino: number; size: number; mtimeMs: number }) =>
  [dev, ino, size, mtimeMs].join(' ')
const identityOf = (path: string) => {
  const found = statSync(path, { throwIfNoEntry: false })
  return found && identity(found)
}
/**
 * For a compiled executable the kernel knows which file runs, even if it was replaced during the
 * start.
 */
const started = identityOf(process.versions.bun === undefined ? file : '/proc/self/exe')

/** True when the executable's file has been replaced since this process started. */
export function isOutdated(): boolean {
  const installed = identityOf(file)
  return installed !== undefined && installed !== started
}

/**
 * Resolves with undefined when the installed executable can take over, else with the reason why
 * not. A truncated file would end the agent, and an older version would not understand what it
 * inherits.
 */
export function renewalRefusal(): Promise<string | undefined> {
  const [command, ...args] = ownCommand()
  return new Promise(resolve => {
    const trial = { timeout: TRIAL_MS, killSignal: 'SIGKILL' as const }
    try {
      execFile(command, [...args, 'agent', '--protocol'], trial, (error, stdout) => {
        if (error !== null) resolve(error.message)
        else if (stdout.trim() === String(PROTOCOL)) resolve(undefined)
        else resolve(`${file} speaks agent protocol ${JSON.stringify(stdout.trim().slice(0, 20))}, not "${PROTOCOL}"`)
      })
    } catch (error) {
      resolve((error as Error).message) // the runtime itself says that this is no executable
    }
  })
}

/** Returns only by throwing: then this program goes on, and has lost nothing. */
export function renew(inherited: Inherited): never {
  const state = memoryFile('tunlink-agent', JSON.stringify(inherited))
  const fds = inherited.kept.links.flatMap(({ fds }) => fds)
  const [command, ...args] = ownCommand()
  try {
    execute(command, [command, ...args, ...process.argv.slice(2)], { ...process.env, [STATE_FD]: String(state) }, [
      inherited.lock,
      inherited.listening,
      state,
      ...fds,
    ])
  } finally {
    closeSync(state)
  }
}

/** What the old program has left; undefined in a process that was started as an agent. */
export function inherit(): Inherited | undefined {
  const fd = Number(process.env[STATE_FD])
  delete process.env[STATE_FD]
  if (!Number.isSafeInteger(fd) || fd <= 2) return undefined
  try {
    const bytes = Buffer.alloc(fstatSync(fd).size)
    readSync(fd, bytes, 0, bytes.length, 0)
    closeSync(fd)
    const inherited = JSON.parse(bytes.toString()) as Inherited
    for (const kept of [inherited.lock, inherited.listening, ...inherited.kept.links.flatMap(({ fds }) => fds)]) markCloseOnExec(kept)
    return inherited
  } catch (error) {
    log('nothing inherited', { error: (error as Error).message })
    return undefined
  }
}
