/** Directories that tests fill. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Runs `body` with the path of a new directory, which is removed when it, or its promise, ends. */
export function inDirectory<T>(body: (directory: string) => T): T {
  const directory = mkdtempSync(join(tmpdir(), 'tunlink-test-'))
  const remove = () => rmSync(directory, { recursive: true, force: true })
  let isLater = false
  try {
    const result = body(directory)
    if (!(result instanceof Promise)) return result
    isLater = true
    return result.finally(remove) as T
  } finally {
    if (!isLater) remove()
  }
}
