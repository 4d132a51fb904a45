/**
 * What a cluster occupies on the machine: namespaces, cgroups and a directory, all by name, so that
 * a crashed run's can be removed too.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, rmdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'

/** Short, as unix sockets lie below it. */
export const DIRECTORY = '/tmp/tunlink-cluster'
export const FABRIC = 'tunlink-fabric'
export const nodeNetns = (name: string) => `tunlink-node-${name}`

const CGROUPS = '/sys/fs/cgroup'
/** One hierarchy, or one per controller. */
const hierarchies = () => (existsSync(join(CGROUPS, 'cgroup.controllers')) ? [CGROUPS] : directories(CGROUPS))

const directories = (path: string) =>
  unlessGone(() => readdirSync(path, { withFileTypes: true }), [])
    .filter(entry => entry.isDirectory())
    .map(entry => join(path, entry.name))

/** A process or cgroup may end between its listing and the look at it. */
function unlessGone<T>(look: () => T, otherwise: T): T {
  try {
    return look()
  } catch {
    return otherwise
  }
}

/** Makes the cgroup in each hierarchy. */
export function cgroupCreate(name: string): void {
  for (const hierarchy of hierarchies()) {
    mkdirSync(join(hierarchy, name), { recursive: true })
    for (const file of ['cpuset.cpus', 'cpuset.mems']) {
      // a new cpuset is empty, and takes no process
      if (hierarchy.endsWith('/cpuset')) writeFileSync(join(hierarchy, name, file), readFileSync(join(hierarchy, file)))
    }
  }
}

function cgroupDirectories(name: string): string[] {
  const below = (path: string): string[] => [...directories(path).flatMap(below), path]
  return hierarchies()
    .map(hierarchy => join(hierarchy, name))
    .filter(path => existsSync(path))
    .flatMap(below)
}

const cgroupPids = (name: string) =>
  cgroupDirectories(name).flatMap(path => numbers(unlessGone(() => readFileSync(join(path, 'cgroup.procs'), 'utf8'), '')))

const numbers = (text: string) => text.split(/\s+/).filter(Boolean).map(Number)

/**
 * Processes whose network namespace is that of `netns`, or whose mount namespace one of theirs is
 * in: a shim, or what a shim started.
 */
function netnsPids(netns: string): number[] {
  if (!existsSync(`/run/netns/${netns}`)) return []
  const wanted = statSync(`/run/netns/${netns}`).ino
  const own = readlinkSync('/proc/self/ns/mnt')
  const all = numbers(
    readdirSync('/proc')
      .filter(name => /^\d+$/.test(name))
      .join(' '),
  )
  const inside = all.filter(pid => namespace(pid, 'net') === `net:[${wanted}]`)
  const mounts = new Set(inside.map(pid => namespace(pid, 'mnt')).filter(mount => mount !== own && mount !== ''))
  return all.filter(pid => inside.includes(pid) || mounts.has(namespace(pid, 'mnt')))
}

const namespace = (pid: number, kind: string) => unlessGone(() => readlinkSync(`/proc/${pid}/ns/${kind}`), '')

/**
 * Ends all processes of a network namespace and a cgroup, then both. The cgroup of a node has the
 * name of its namespace.
 */
export function remove(netns: string): void {
  const deadline = Date.now() + 10_000
  for (;;) {
    const pids = new Set([...netnsPids(netns), ...cgroupPids(netns)])
    if (pids.size === 0) break
    if (Date.now() > deadline) throw new Error(`Cannot end the processes of ${netns}: ${[...pids].join(' ')}`)
    for (const pid of pids) kill(pid)
    execFileSync('sleep', ['0.05'])
  }
  spawnSync('ip', ['netns', 'del', netns])
  for (let tries = 0; cgroupDirectories(netns).some(path => !removed(path)) && tries < 40; tries++) execFileSync('sleep', ['0.05'])
}

const kill = (pid: number) => unlessGone(() => process.kill(pid, 'SIGKILL'), true)

const removed = (path: string) => unlessGone(() => [rmdirSync(path)].length === 1, !existsSync(path))

/** Removes whatever cluster there is. */
export function removeAll(): void {
  const names = existsSync('/run/netns') ? readdirSync('/run/netns') : []
  const groups = hierarchies()
    .flatMap(directories)
    .map(path => basename(path))
  for (const name of new Set([...names, ...groups].filter(name => name.startsWith('tunlink-node-') || name === FABRIC))) remove(name)
  if (existsSync(DIRECTORY)) {
    spawnSync('umount', ['-l', DIRECTORY])
    rmSync(DIRECTORY, { recursive: true, force: true })
  }
}

/** The directory; a file system of its own where the machine's cannot carry an overlay. */
export function makeDirectory(): void {
  mkdirSync(DIRECTORY, { recursive: true })
  const kind = execFileSync('stat', ['-f', '-c', '%T', DIRECTORY], { encoding: 'utf8' }).trim()
  if (kind === 'overlayfs') execFileSync('mount', ['-t', 'tmpfs', '-o', 'mode=755', 'tunlink-cluster', DIRECTORY])
}
