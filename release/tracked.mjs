// What a release copies from the sources: nothing that merely lies in the working tree.
import { spawnSync } from 'node:child_process'

/** Paths of the files below `paths` that git tracks in `root`. Throws when git cannot tell. */
export function trackedFiles(root, paths) {
  const { status, stdout, stderr, error } = spawnSync('git', ['ls-files', '-z', '--', ...paths], { cwd: root, encoding: 'utf8' })
  if (status !== 0) throw new Error(`A release needs git and its repository at ${root}: ${error?.message ?? stderr.trim()}`)
  return stdout.split('\0').filter(path => path !== '')
}
