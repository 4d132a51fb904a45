/**
 * koffi for the bundled executables: build.mjs replaces 'koffi' by this module.
 * The addon is part of the bundle, and is loaded from a file without a name (O_TMPFILE, see
 * open(2)): no other process can open, replace or find it, many processes may start at once, and
 * nothing is left behind. It may lie in any directory that is writable and not mounted noexec, so a
 * read-only root or a noexec /tmp does no harm.
 */
import { closeSync, constants, openSync, writeSync } from 'node:fs'

import addonBase64 from 'koffi-addon'

// <asm-generic/fcntl.h>. O_DIRECTORY has another number on arm64.
const O_TMPFILE = 0o20000000 | constants.O_DIRECTORY
const DIRECTORIES = ['/dev/shm', '/run', process.execPath.slice(0, process.execPath.lastIndexOf('/') + 1), '/var/tmp', '/tmp']

/** What the addon needs besides libc: the loader's message begins with its name or path. */
const LIBRARY = 'libstdc++.so.6'

function loadFrom(directory: string, bytes: Buffer): unknown {
  const fd = openSync(directory, O_TMPFILE | constants.O_RDWR, 0o700)
  try {
    writeSync(fd, bytes)
    const module = { exports: {} }
    process.dlopen(module, `/proc/self/fd/${fd}`)
    return module.exports
  } finally {
    closeSync(fd)
  }
}

function load(): unknown {
  const bytes = Buffer.from(addonBase64, 'base64')
  const refusals: string[] = []
  for (const directory of DIRECTORIES) {
    try {
      return loadFrom(directory, bytes)
    } catch (error) {
      const { message } = error as Error
      if (message.includes(LIBRARY)) throw new Error(`Cannot load ${LIBRARY}: install it, Debian's package is libstdc++6 (${message})`)
      refusals.push(message)
    }
  }
  throw new Error(
    `Cannot load the foreign function interface: one of ${DIRECTORIES.join(', ')} must be writable and not mounted noexec (${refusals.join('; ')})`,
  )
}

export default load()
