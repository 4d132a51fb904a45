/**
 * The plugin: environment and standard input in, CNI JSON and exit status out. The agent does an
 * ADD where one answers: it is running already, so this process loads next to nothing. Everything
 * else, and an ADD without an agent, is in here.ts.
 */
import { askIfAny } from '../agent/reach.ts'
import { DEFAULT_DATA_DIR } from '../cni/data-dir.ts'
import { type Environment, parseEnvironment } from '../cni/environment.ts'
import { CniError, CODE, toErrorJson } from '../cni/error.ts'
import { SUPPORTED } from '../cni/version.ts'
import { verifyOwner } from '../link/data-dir.ts'
import { kernelError } from '../link/errors.ts'
import { setLastWords } from '../linux/last-words.ts'
import { readAll, tell, writeAll } from '../linux/read-write.ts'
import { statusError } from '../verbs/status-error.ts'
import { callerOf } from './caller.ts'

/** Runs one CNI verb; resolves with the exit status. */
export async function runPlugin(env: NodeJS.ProcessEnv): Promise<number> {
  let stdin = ''
  const refuse = (error: unknown): number => {
    const { cniVersion } = peek(stdin)
    // Input that cannot be read says nothing about this node.
    const isOfNode = env.CNI_COMMAND === 'STATUS' && stdin !== ''
    const told = isOfNode ? statusError(error) : kernelError(error)
    print(toErrorJson(told, typeof cniVersion === 'string' && cniVersion !== '' ? cniVersion : '0.1.0'))
    return 1
  }
  setLastWords(error => process.exit(refuse(error)))
  try {
    const environment = parseEnvironment(env)
    if (environment.command === 'VERSION') return print({ cniVersion: SUPPORTED.at(-1), supportedVersions: SUPPORTED })
    stdin = readStdin()
    if (environment.command === 'ADD') return await add(environment, stdin)
    if (isForAnother(stdin)) return print((await import('../verbs/ipam-plugin.ts')).runIpam(environment, stdin))
    if (environment.command === 'DEL') return print(await (await import('./del.ts')).del(environment, stdin))
    const { runHere } = await import('./here.ts')
    return print(await runHere(environment, stdin))
  } catch (error) {
    return refuse(error)
  }
}

/**
 * ADD, by the agent or in this process. When the result cannot be printed, the link is removed as
 * after any other failure.
 */
async function add(environment: Environment, stdin: string): Promise<number> {
  const isIpam = isForAnother(stdin)
  const run = async () =>
    isIpam ? (await import('../verbs/ipam-plugin.ts')).runIpam(environment, stdin) : (await import('./here.ts')).runHere(environment, stdin)
  const result = (await addByAgent(environment, stdin)) ?? (await run())
  try {
    return print(result)
  } catch (error) {
    if (!isIpam) await (await import('./del.ts')).del(environment, stdin)
    throw error
  }
}

/**
 * The agent's result; undefined when this process must do the ADD. The configuration is validated
 * by whoever does it.
 */
async function addByAgent(environment: Environment, stdin: string): Promise<string | undefined> {
  const { ipam, name, dataDir = DEFAULT_DATA_DIR } = peek(stdin)
  const isForAgent = !isForAnother(stdin) && (ipam?.type === undefined || ipam.type === TUNLINK) && typeof dataDir === 'string'
  const caller = isForAgent ? callerOf(environment) : undefined
  if (caller === undefined) return undefined
  // otherwise another user's agent might answer
  verifyOwner(dataDir as string, typeof name === 'string' && !name.includes('/') ? name : undefined)
  const answer = await askIfAny(dataDir as string, { op: 'add', environment, stdin, caller, started: performance.timeOrigin })
  for (const warning of answer?.warnings ?? []) warn(warning)
  return answer?.result
}

/** True when another plugin's configuration names this one as its IPAM. */
function isForAnother(stdin: string): boolean {
  const { type, ipam } = peek(stdin)
  return ipam?.type === TUNLINK && typeof type === 'string' && type !== TUNLINK
}

/** On standard error, which runtimes log. */
export const warn = (warning: string): void => tell(`tunlink: ${warning}`)

/** The type by which a configuration names this plugin, and its built-in IPAM. */
const TUNLINK = 'tunlink'

/** All of standard input. Throws CniError 5. */
function readStdin(): string {
  try {
    return readAll(0)
  } catch (error) {
    throw new CniError(CODE.io, `error reading from stdin: ${(error as Error).message}`)
  }
}

function print(output: unknown): number {
  if (output !== undefined) writeAll(1, `${typeof output === 'string' ? output : JSON.stringify(output)}\n`)
  return 0
}

/** Parses a configuration without validating it; an empty object when that fails. */
function peek(stdin: string): {
  name?: unknown
  cniVersion?: unknown
  type?: unknown
  dataDir?: unknown
  ipam?: { type?: unknown } | null
} {
  try {
    return JSON.parse(stdin) ?? {}
  } catch {
    return {}
  }
}
