import { writeSync } from 'node:fs'

/** One JSON line on stdout, which is the agent's log. */
export function log(message: string, fields: Record<string, unknown> = {}): void {
  writeSync(1, `${JSON.stringify({ time: new Date().toISOString(), message, ...fields })}\n`)
}
