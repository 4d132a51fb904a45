/**
 * Installs files on the node: the executable first, the conflist last. Each is renamed within its
 * directory, so that no process ever sees half a file.
 */
import {
  chmodSync,
  closeSync,
  constants,
  copyFileSync,
  existsSync,
  fsyncSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { openLock } from '../linux/lock.ts'
import { writeAll } from '../linux/read-write.ts'
import { makeDirectory } from '../make-directory.ts'
import { readSmallFile } from '../read-file.ts'

/** The lock of the node's one tunlinkd, or of uninstall. */
export function openTunlinkdLock(dataDir: string): number {
  makeDirectory(dataDir, 0o700)
  return openLock(join(dataDir, 'tunlinkd.lock'))
}

/** Changes whenever the file does, and is cheap enough to be read every second. */
export const signature = (path: string): string | undefined => {
  const found = statSync(path, { throwIfNoEntry: false })
  return found && `${found.dev} ${found.ino} ${found.size} ${found.mtimeMs} ${found.mode}`
}

/**
 * Makes `to` an executable copy of `from`; true when it had to change. An executable that runs
 * meanwhile keeps its inode. All of the file is read once in any case, so that the first pod need
 * not wait for the disk.
 */
export function installExecutable(from: string, to: string): boolean {
  if (existsSync(to) && (statSync(to).mode & 0o777) === 0o755 && sameContent(from, to)) return false
  makeDirectory(dirname(to), 0o755)
  const temporary = hidden(to)
  try {
    rmSync(temporary, { force: true })
    copyFileSync(from, temporary, constants.COPYFILE_EXCL)
    chmodSync(temporary, 0o755)
    sync(temporary)
    renameSync(temporary, to)
  } catch (error) {
    rmSync(temporary, { force: true })
    throw error
  }
  return true
}

/**
 * Makes `text` the content of `path`; true when it had to change. containerd notices a rename only
 * when the old name was in the same directory, and reads the file at once, so it must be complete.
 */
export function installText(text: string, path: string): boolean {
  if (readText(path) === text) return false
  makeDirectory(dirname(path), 0o755)
  const temporary = hidden(path)
  try {
    writeSynced(temporary, text)
    renameSync(temporary, path)
  } catch (error) {
    rmSync(temporary, { force: true })
    throw error
  }
  return true
}

/** undefined when the file does not exist. What is no regular file is refused, not waited for. */
export function readText(path: string): string | undefined {
  try {
    return readSmallFile(path, 'follow')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    if (error instanceof SyntaxError) throw new Error(`Cannot read ${path}: ${error.message}`)
    throw error
  }
}

/** Removes `path`, and the draft of a killed writer. */
export function removeInstalled(path: string): boolean {
  const was = existsSync(path)
  rmSync(path, { force: true })
  rmSync(hidden(path), { force: true })
  return was
}

/** Hidden, so that no runtime takes it for a configuration. */
const hidden = (path: string) => join(dirname(path), `.${path.slice(dirname(path).length + 1)}.tmp`)

const CHUNK_BYTES = 1 << 20

function sameContent(one: string, other: string): boolean {
  if (statSync(one).size !== statSync(other).size) return false
  const fds = [openSync(one, 'r'), openSync(other, 'r')]
  const chunks = fds.map(() => Buffer.alloc(CHUNK_BYTES))
  try {
    for (;;) {
      const [length, otherLength] = fds.map((fd, index) => readSync(fd, chunks[index]!, 0, CHUNK_BYTES, null))
      if (length !== otherLength || !chunks[0]!.subarray(0, length).equals(chunks[1]!.subarray(0, otherLength))) return false
      if (length === 0) return true
    }
  } finally {
    for (const fd of fds) closeSync(fd)
  }
}

/** All of it: on a disk that becomes full, write(2) takes a part and reports no error. */
function writeSynced(path: string, text: string): void {
  const fd = openSync(path, 'w', 0o600)
  try {
    writeAll(fd, text)
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

function sync(path: string): void {
  const fd = openSync(path, 'r')
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}
