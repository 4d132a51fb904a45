/**
 * Equivalent to: mkdir -p -m MODE PATH. It always ends: Node's own function loops for ever when the
 * kernel answers ENOENT, as below /proc.
 */
import { mkdirSync, statSync } from 'node:fs'
import { dirname } from 'node:path'

/**
 * Throws the file system's error: EEXIST or ENOTDIR when something else than a directory is in the
 * way.
 */
export function makeDirectory(path: string, mode: number): void {
  try {
    makeOne(path, mode)
  } catch (error) {
    const parent = dirname(path)
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || parent === path) throw error
    // Another process may have made the parent meanwhile.
    if (!isDirectory(parent)) makeDirectory(parent, mode)
    makeOne(path, mode)
  }
}

function makeOne(path: string, mode: number): void {
  try {
    mkdirSync(path, mode)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || !isDirectory(path)) throw error
  }
}

const isDirectory = (path: string) => statSync(path, { throwIfNoEntry: false })?.isDirectory() === true
