/** Control groups: see cgroups(7), proc_pid_cgroup(5), proc_pid_mountinfo(5). */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'

/**
 * Moves this process, with all its threads, to the root of every cgroup hierarchy. Equivalent to:
 * echo PID > /sys/fs/cgroup/cgroup.procs. All processes of a group are ended with it (`systemctl
 * stop`, cgroup.kill), and the caller's group belongs to somebody else. Moves where it can;
 * returns, in words, what it could not do.
 */
export function leaveCgroup(): string[] {
  // `ip netns exec` and similar programs mount a /sys without cgroups: then the files are found
  // through the parent process. Mounting cgroups here would not do, as the options of cgroup2 hold
  // for all its mounts.
  const views = [
    { mountinfo: read('/proc/self/mountinfo'), root: '' },
    ...ancestors().map(pid => ({ mountinfo: read(`/proc/${pid}/mountinfo`), root: `/proc/${pid}/root` })),
  ].filter(({ root }) => existsSync(`${root}/`))
  const { files, refusals } = rootGroups(read('/proc/self/cgroup'), views)
  for (const file of files) {
    try {
      writeFileSync(file, String(process.pid))
    } catch (error) {
      refusals.push(`${file}: ${(error as Error).message}`)
    }
  }
  return refusals
}

/** The parent, its parent, and so on, up to process 1. */
function ancestors(): number[] {
  const pids: number[] = []
  for (let pid = process.ppid; pid > 0 && !pids.includes(pid); ) {
    pids.push(pid)
    // PID (NAME) STATE PPID ...: the name may contain blanks and brackets
    const stat = read(`/proc/${pid}/stat`)
    pid = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1] ?? 0)
  }
  return pids
}

/** Empty when the file does not exist or may not be read. */
function read(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}

/** The mounts that a process sees: the text of its mountinfo, and a path to its root directory. */
export interface MountView {
  mountinfo: string
  root: string
}

/**
 * From the text of /proc/self/cgroup and the mounts: the `cgroup.procs` of the root of each
 * hierarchy in which the process is below the root, by the first view that has it; and the
 * hierarchies whose root cannot be seen, as in a container.
 */
export function rootGroups(cgroup: string, views: MountView[]): { files: string[]; refusals: string[] } {
  const mounts = views.flatMap(({ mountinfo, root }) => lines(mountinfo).flatMap(line => parseMount(line, root)))
  const files: string[] = []
  const refusals: string[] = []
  for (const { controllers, path } of lines(cgroup).map(parseGroup)) {
    if (path === '/') continue
    const mount = mounts.find(mount => mount.group === '/' && isHierarchy(mount, controllers))
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
  /** The path inside the hierarchy that is seen at the mount point. */
  group: string
  point: string
  type: string
  /** Options of the hierarchy: version 1 names its controllers here. */
  options: string[]
}

/**
 * `ID PARENT MAJOR:MINOR ROOT POINT OPTIONS FIELD... - TYPE SOURCE OPTIONS`; an empty list for
 * other mounts than cgroups.
 */
function parseMount(line: string, root: string): Mount[] {
  const [left = '', right = ''] = line.split(' - ')
  const [, , , group, point] = left.split(' ')
  const [type, , options] = right.split(' ')
  if ((type !== 'cgroup' && type !== 'cgroup2') || group === undefined || point === undefined) return []
  return [{ group: unescapeOctal(group), point: root + unescapeOctal(point), type, options: (options ?? '').split(',') }]
}

const isHierarchy = ({ type, options }: Mount, controllers: string) =>
  controllers === '' ? type === 'cgroup2' : type === 'cgroup' && controllers.split(',').every(name => options.includes(name))

/** Blanks and backslashes of a path are written as in `\040`. */
const unescapeOctal = (text: string) =>
  text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)))
