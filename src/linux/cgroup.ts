/** Control groups: see cgroups(7), proc_pid_cgroup(5), proc_pid_mountinfo(5). */
import { readFileSync, writeFileSync } from 'node:fs'

/**
 * Moves this process, with all its threads, to the root of every hierarchy where it is in a group below: `echo PID > /sys/fs/cgroup/cgroup.procs`.
 * A group ends with all its processes (`systemctl stop`, cgroup.kill), and the one that the caller is in belongs to somebody else. Does what can
 * be done; returns, in words, what could not.
 */
export function leaveCgroup(): string[] {
  const { files, refusals } = rootGroups(readFileSync('/proc/self/cgroup', 'utf8'), readFileSync('/proc/self/mountinfo', 'utf8'))
  for (const file of files) {
    try {
      writeFileSync(file, String(process.pid))
    } catch (error) {
      refusals.push(`${file}: ${(error as Error).message}`)
    }
  }
  return refusals
}

/**
 * From the texts of /proc/self/cgroup and /proc/self/mountinfo: the `cgroup.procs` of the root of each hierarchy that the process is not at the
 * root of; and the hierarchies whose root is not mounted here, as in a container that sees no more than its own group.
 */
export function rootGroups(cgroup: string, mountinfo: string): { files: string[]; refusals: string[] } {
  const mounts = lines(mountinfo)
    .map(parseMount)
    .filter(mount => mount !== undefined)
  const files: string[] = []
  const refusals: string[] = []
  for (const { controllers, path } of lines(cgroup).map(parseGroup)) {
    if (path === '/') continue
    const mount = mounts.find(mount => mount.root === '/' && isHierarchy(mount, controllers))
    if (mount !== undefined) files.push(`${mount.point}/cgroup.procs`)
    else refusals.push(`the root of the cgroup hierarchy ${JSON.stringify(controllers || 'cgroup2')} is not mounted`)
  }
  return { files, refusals }
}

const lines = (text: string) => text.split('\n').filter(line => line !== '')

/** `ID:CONTROLLERS:PATH`; no controllers in version 2. */
function parseGroup(line: string): { controllers: string; path: string } {
  const [, controllers = '', ...path] = line.split(':')
  return { controllers, path: path.join(':') }
}

interface Mount {
  /** The group that is seen at the mount point. */
  root: string
  point: string
  type: string
  /** Of the hierarchy: version 1 names its controllers here. */
  options: string[]
}

/** `ID PARENT MAJOR:MINOR ROOT POINT OPTIONS FIELD... - TYPE SOURCE OPTIONS`; undefined for what is no cgroup. */
function parseMount(line: string): Mount | undefined {
  const [left = '', right = ''] = line.split(' - ')
  const [, , , root, point] = left.split(' ')
  const [type, , options] = right.split(' ')
  if ((type !== 'cgroup' && type !== 'cgroup2') || root === undefined || point === undefined) return undefined
  return { root: unescapeOctal(root), point: unescapeOctal(point), type, options: (options ?? '').split(',') }
}

const isHierarchy = ({ type, options }: Mount, controllers: string) =>
  controllers === '' ? type === 'cgroup2' : type === 'cgroup' && controllers.split(',').every(name => options.includes(name))

/** Blanks and backslashes of a path are written as `\040`. */
const unescapeOctal = (text: string) =>
  text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)))
