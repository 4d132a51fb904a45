/** The plugin: environment and standard input in, CNI JSON and exit status out. */
import { writeSync } from 'node:fs'
import { parseEnvironment } from '../cni/environment.ts'
import { toErrorJson } from '../cni/error.ts'
import { parseNetConf } from '../cni/netconf.ts'
import { printResult } from '../cni/result.ts'
import { SUPPORTED } from '../cni/version.ts'
import { kernelError } from '../link/errors.ts'
import { add } from './add.ts'
import { checkVerb } from './check.ts'
import { BUILT_IN_IPAM, type Context, readStdin } from './context.ts'
import { del } from './del.ts'
import { gc } from './gc.ts'
import { runIpam } from './ipam.ts'
import { status } from './status.ts'

/** Runs one CNI verb; resolves with the exit status. */
export async function runPlugin(env: NodeJS.ProcessEnv): Promise<number> {
  let stdin = ''
  try {
    const environment = parseEnvironment(env)
    if (environment.command === 'VERSION') return print({ cniVersion: SUPPORTED.at(-1), supportedVersions: SUPPORTED })
    stdin = readStdin()
    if (isIpamCall(stdin)) return print(runIpam(environment, stdin))
    const conf = parseNetConf(stdin, environment)
    for (const warning of conf.warnings) process.stderr.write(`tunlink: ${warning}\n`)
    return print(await dispatch({ environment, conf, stdin }))
  } catch (error) {
    print(toErrorJson(kernelError(error), versionOf(stdin)))
    return 1
  }
}

async function dispatch(context: Context): Promise<string | undefined> {
  switch (context.environment.command) {
    case 'ADD':
      return printResult(await add(context), context.conf.cniVersion)
    case 'DEL':
      await del(context)
      return undefined
    case 'CHECK':
      await checkVerb(context)
      return undefined
    case 'GC':
      await gc(context)
      return undefined
    case 'STATUS':
      await status(context)
      return undefined
  }
}

function print(output: unknown): number {
  if (output !== undefined) writeSync(1, `${typeof output === 'string' ? output : JSON.stringify(output)}\n`)
  return 0
}

/** True when another plugin's configuration names this one as its IPAM. */
function isIpamCall(stdin: string): boolean {
  const conf = lenientParse(stdin)
  return conf?.ipam?.type === BUILT_IN_IPAM && typeof conf.type === 'string' && conf.type !== BUILT_IN_IPAM
}

const versionOf = (stdin: string) => {
  const version = lenientParse(stdin)?.cniVersion
  return typeof version === 'string' && version !== '' ? version : '0.1.0'
}

function lenientParse(stdin: string): { cniVersion?: unknown; type?: unknown; ipam?: { type?: unknown } } | undefined {
  try {
    return JSON.parse(stdin)
  } catch {
    return undefined
  }
}
