/** CNI specification versions. */
import { CniError, CODE } from './error.ts'

export const SUPPORTED = ['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0']

/** The first version that has the verb. */
const SINCE: Record<string, string> = { CHECK: '0.4.0', GC: '1.1.0', STATUS: '1.1.0' }

/** The three numbers of `version`. Throws CniError 6. */
function numbers(version: string): number[] {
  const parts = version.split('.')
  if (parts.length > 3 || !parts.every(part => /^\d+$/.test(part))) throw new CniError(CODE.decoding, `invalid "cniVersion": "${version}"`)
  return [0, 1, 2].map(index => Number(parts[index] ?? 0))
}

/** Negative, zero or positive, as `a` is older than, equal to or newer than `b`. */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [numbers(a), numbers(b)]
  const at = left.findIndex((part, index) => part !== right[index])
  return at < 0 ? 0 : left[at]! - right[at]!
}

/**
 * Throws CniError 1 when this plugin does not speak `version`, or `version` has no such verb; 6
 * when `version` is not a version number.
 */
export function verifyVersion(version: string, command: string): void {
  const since = SINCE[command]
  if (since !== undefined) {
    if (compareVersions(version, since) < 0) throw new CniError(CODE.incompatibleVersion, `config version does not allow ${command}`)
    if (compareVersions(version, SUPPORTED.at(-1)!) > 0)
      throw new CniError(CODE.incompatibleVersion, `plugin version does not allow ${command}`)
  }
  if (SUPPORTED.includes(version)) return
  const supported = SUPPORTED.map(known => `"${known}"`).join(' ')
  throw new CniError(CODE.incompatibleVersion, 'incompatible CNI versions', `config is "${version}", plugin supports [${supported}]`)
}
