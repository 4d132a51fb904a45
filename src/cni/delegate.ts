/** Running another plugin: see "Plugin Delegation" in the CNI specification. */
import { statSync } from 'node:fs'
import { familyOf } from '../address.ts'
import { CniError, CODE, isErrorCode } from './error.ts'
import { parseObject } from './json.ts'
import { show } from './must-be.ts'
import { parseResult, type Result } from './result.ts'

const BUSY_TRIES = 6

/** The path of plugin `type` in one of `directories`. Throws CniError 7. */
export function findPlugin(type: string, directories: string[]): string {
  if (/[/\0]/.test(type)) throw new CniError(CODE.invalidConfig, `invalid plugin name: ${show(type)}`)
  for (const directory of directories) {
    const path = `${directory}/${type}`
    if (isFile(path)) return path
  }
  throw new CniError(CODE.invalidConfig, `failed to find plugin "${type}" in path [${directories.join(' ')}]`)
}

/** False when the path cannot be looked at: the next directory may have the plugin. */
function isFile(path: string): boolean {
  try {
    return statSync(path).isFile()
  } catch {
    return false
  }
}

/**
 * Runs plugin `type` with this process's environment, with `command` as CNI_COMMAND, and with the
 * whole configuration. Returns its standard output. Throws the plugin's CniError.
 */
export function delegate(command: string, type: string, stdin: string, directories: string[]): string {
  const path = findPlugin(type, directories)
  // not imported: that would cost a millisecond of start-up
  const { spawnSync } = process.getBuiltinModule('node:child_process')
  for (let tries = 1; ; tries++) {
    const { status, stdout, error } = spawnSync(path, {
      input: stdin,
      encoding: 'utf8',
      env: { ...process.env, CNI_COMMAND: command },
      // what it logs, however long, goes where our own log goes
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    const code = (error as NodeJS.ErrnoException | undefined)?.code
    // a plugin need not read its input
    const hasRun = error === undefined || (code === 'EPIPE' && status !== null)
    if (code === 'ETXTBSY' && tries < BUSY_TRIES) {
      // an installer is writing the file
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1000)
      continue
    }
    if (!hasRun) throw new CniError(CODE.internal, `cannot run plugin ${path}: ${error.message}`)
    if (status === 0) return stdout
    throw delegateError(type, status, stdout)
  }
}

/**
 * The result that the IPAM plugin `type` printed for ADD, of `version` unless it names its own.
 * Throws CniError 6 unless it is a result with an address, 7 for an invalid route.
 */
export function parseLease(type: string, stdout: string, version: string): Result {
  const lease = parseResult(parseObject(stdout, `ipam "${type}" printed no result`), version, 'result')
  if (lease.ips.length === 0) throw new CniError(CODE.decoding, `ipam "${type}" printed a result without an address`, stdout)
  for (const route of lease.routes) {
    if (route.gw !== undefined && familyOf(route.gw) !== familyOf(route.dst))
      throw new CniError(CODE.invalidConfig, `ipam "${type}" gave a route whose gateway is of another family: ${JSON.stringify(route)}`)
  }
  return lease
}

function delegateError(type: string, status: number | null, stdout: string): CniError {
  try {
    const { code, msg, details } = JSON.parse(stdout) as { code: unknown; msg: unknown; details?: unknown }
    if (!isErrorCode(code) || typeof msg !== 'string') throw new TypeError('no CNI error')
    return new CniError(code, msg, typeof details === 'string' ? details : undefined)
  } catch {
    return new CniError(CODE.internal, `plugin "${type}" failed with status ${status}`, stdout || undefined)
  }
}
