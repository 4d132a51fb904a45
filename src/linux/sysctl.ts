/**
 * sysctl(8) by /proc/sys, which follows the calling thread's network namespace. Keys are given in
 * parts, because interface names may contain dots.
 */
import { accessSync, constants, readFileSync, writeFileSync } from 'node:fs'

/** TUNLINK_PROC_SYS names another mount of /proc/sys: in a container its own is read-only. */
const ROOT = process.env.TUNLINK_PROC_SYS ?? '/proc/sys'

const file = (key: string[]) => `${ROOT}/${key.join('/')}`

/** Equivalent to: sysctl -w KEY=VALUE. Throws when it cannot be written. */
export function sysctlSet(key: string[], value: string): void {
  try {
    writeFileSync(file(key), value)
  } catch (cause) {
    throw Object.assign(new Error(`set sysctl ${key.join('.')} to "${value}": ${(cause as Error).message}`, { cause }), {
      code: (cause as NodeJS.ErrnoException).code,
    })
  }
}

/**
 * Equivalent to: sysctl -n KEY. undefined when this kernel lacks it. Throws when it cannot be read.
 */
export function sysctlGet(key: string[]): string | undefined {
  try {
    return readFileSync(file(key), 'utf8').trim()
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException
    if (code === 'ENOENT') return undefined
    throw Object.assign(new Error(`get sysctl ${key.join('.')}: ${message}`, { cause }), { code })
  }
}

/** False where the key is missing or /proc/sys is mounted read-only. */
export function sysctlIsWritable(key: string[]): boolean {
  try {
    accessSync(file(key), constants.W_OK)
    return true
  } catch {
    return false
  }
}
