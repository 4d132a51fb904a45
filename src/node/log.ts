import { writeSync } from 'node:fs'

type Fields = Record<string, unknown>

/**
 * One JSON line on stdout. Writing never throws: a full disk, or a reader that has gone, must not
 * end tunlinkd.
 */
const write =
  (level: string) =>
  (message: string, fields: Fields = {}) => {
    try {
      writeSync(1, `${JSON.stringify({ time: new Date().toISOString(), level, message, ...fields })}\n`)
    } catch {
      // There is no place left to report this error.
    }
  }

export const log = { info: write('info'), warn: write('warn'), error: write('error') }

/** Message and causes in one line. */
export function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const details = (error as { details?: string }).details
  const own = details === undefined ? error.message : `${error.message} (${details})`
  const cause = error.cause instanceof Error && !own.includes(error.cause.message) ? `: ${describe(error.cause)}` : ''
  return `${own}${cause}`
}
