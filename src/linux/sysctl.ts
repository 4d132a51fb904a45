/** sysctl(8) by /proc/sys, which follows the calling thread's network namespace. Keys come as parts, as interface names may hold dots. */
import { readFileSync, writeFileSync } from 'node:fs'

const file = (key: string[]) => `/proc/sys/${key.join('/')}`

/** sysctl -w KEY=VALUE. Throws when it cannot be written. */
export function sysctlSet(key: string[], value: string): void {
  try {
    writeFileSync(file(key), value)
  } catch (cause) {
    throw Object.assign(new Error(`set sysctl ${key.join('.')} to "${value}": ${(cause as Error).message}`, { cause }), {
      code: (cause as NodeJS.ErrnoException).code,
    })
  }
}

/** sysctl -n KEY; undefined when this kernel lacks it. */
export function sysctlGet(key: string[]): string | undefined {
  try {
    return readFileSync(file(key), 'utf8').trim()
  } catch {
    return undefined
  }
}
