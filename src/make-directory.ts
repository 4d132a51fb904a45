/**
 * mkdir -p -m MODE PATH, which always ends: Node's own goes round for ever where the kernel answers
 * ENOENT, as below /proc.
 */
import { mkdirSync, statSync } from 'node:fs'
import { dirname } from 'node:path'

/**
 * Throws the file system's error: EEXIST or ENOTDIR where something else than a directory is in the
 * way.
 */
export function makeDirectory(path: string, mode: number): void {
  try {
    mkdirSync(path, mode)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EEXIST' && statSync(path).isDirectory()) return
    const parent = dirname(path)
    if (code !== 'ENOENT' || parent === path || statSync(parent, { throwIfNoEntry: false })?.isDirectory()) throw error
    makeDirectory(parent, mode)
    makeDirectory(path, mode)
  }
}
