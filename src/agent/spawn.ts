/**
 * Starts an agent where none answers. It is detached from the plugin, so that a runtime neither
 * waits for it nor ends it.
 */
import { closeSync, constants, openSync } from 'node:fs'
import { tell } from '../linux/read-write.ts'
import { makeDirectory } from '../make-directory.ts'
import { logPath } from './protocol.ts'

/**
 * The agent's environment. Without this timer Bun collects garbage only when memory is allocated,
 * as every engine does; with it, an idle agent would wake ten times a second to look for garbage.
 */
export const AGENT_ENV = { BUN_GC_TIMER_DISABLE: '1' }

/**
 * Variables about one call of the plugin, and those that steer JavaScript runtimes and their
 * allocator.
 */
const NOT_FOR_AGENTS = /^(CNI|BUN|NODE|MIMALLOC)_/

/**
 * The environment of an agent: this process's, without variables that steer the runtime. An agent
 * lives for days: a debugger that was meant for one call (BUN_INSPECT) would listen for days, and
 * with BUN_BE_BUN the executable would be Bun, not tunlink.
 */
export const agentEnv = (): Record<string, string | undefined> => ({
  ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !NOT_FOR_AGENTS.test(name))),
  ...AGENT_ENV,
})

export interface StartOptions {
  /** The executable, or Node and the script; default: this program. */
  command?: [string, ...string[]]
  /** Further options of `tunlink agent`. */
  options?: string[]
}

/**
 * The agent has its own session, log and directory, inherits no descriptor, and soon leaves the
 * cgroup: a runtime waits for every process that holds the plugin's stdout, and ends every process
 * in the container's cgroup.
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
  child.on('error', error => tell(`Cannot start the agent: ${error.message}`))
  child.unref()
  closeSync(log)
}

const LOG_FLAGS = constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND | constants.O_NOFOLLOW | constants.O_NONBLOCK

/**
 * A descriptor of the log; of /dev/null where the file cannot be made (a full disk), or is a
 * symbolic link or a pipe: a missing log must not prevent links.
 */
function openLog(dataDir: string): number {
  makeDirectory(dataDir, 0o700)
  try {
    return openSync(logPath(dataDir), LOG_FLAGS, 0o600)
  } catch {
    return openSync('/dev/null', constants.O_WRONLY)
  }
}
