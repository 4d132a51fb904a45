/**
 * Starts an agent where none answers, detached from the plugin in every way that a runtime would
 * wait for or end.
 */
import { closeSync, constants, openSync } from 'node:fs'
import { makeDirectory } from '../make-directory.ts'
import { logPath } from './protocol.ts'

/**
 * What an agent's environment is to have. Without this timer Bun collects garbage when memory is
 * allocated, as every engine does; with it, an agent at rest wakes ten times a second to see
 * whether there is any.
 */
export const AGENT_ENV = { BUN_GC_TIMER_DISABLE: '1' }

/** About one call of the plugin, and what JavaScript's runtimes and their allocator listen to. */
const NOT_FOR_AGENTS = /^(CNI|BUN|NODE|MIMALLOC)_/

/**
 * The environment of an agent: this process's, without what would steer the runtime. An agent lives
 * for days, so that a debugger which somebody wanted for one call (BUN_INSPECT) would listen for
 * days; with BUN_BE_BUN the executable would be Bun and not tunlink.
 */
export const agentEnv = (): Record<string, string | undefined> => ({
  ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !NOT_FOR_AGENTS.test(name))),
  ...AGENT_ENV,
})

export interface StartOptions {
  /** The executable, or Node and the script; default: this one. */
  command?: [string, ...string[]]
  /** Further options of `tunlink agent`. */
  options?: string[]
}

/**
 * Its own session, log and directory, no inherited descriptor, and soon its own cgroup: a runtime
 * waits for whoever holds the plugin's stdout, and ends whatever is in the container's group.
 */
export async function startAgent(dataDir: string, idleSeconds: number, { command, options = [] }: StartOptions = {}): Promise<void> {
  const [{ spawn }, { closeOnExec }, { ownCommand }] = await Promise.all([
    import('node:child_process'),
    import('../linux/exec.ts'),
    import('./renew.ts'),
  ])
  const [executable, ...args] = command ?? ownCommand()
  const log = openLog(dataDir)
  closeOnExec()
  const child = spawn(
    executable,
    [...args, 'agent', '--data-dir', dataDir, '--idle-exit', String(idleSeconds), '--leave-cgroup', ...options],
    {
      cwd: '/',
      detached: true,
      env: agentEnv(),
      stdio: ['ignore', log, log],
    },
  )
  child.on('error', error => process.stderr.write(`Cannot start the agent: ${error.message}\n`))
  child.unref()
  closeSync(log)
}

const LOG_FLAGS = constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND | constants.O_NOFOLLOW | constants.O_NONBLOCK

/**
 * A descriptor of the log; of /dev/null where the file cannot be made, as on a full disk, or is a
 * symbolic link or a pipe: links are worth more than their log.
 */
function openLog(dataDir: string): number {
  makeDirectory(dataDir, 0o700)
  try {
    return openSync(logPath(dataDir), LOG_FLAGS, 0o600)
  } catch {
    return openSync('/dev/null', constants.O_WRONLY)
  }
}
