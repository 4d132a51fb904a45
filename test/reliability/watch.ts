/** Finds one system call of one process, and does something to it. */
import { closeSync, openSync, readFileSync, readSync } from 'node:fs'
import { type Call, linkOf } from './seccomp.ts'
import type { Judge, Verdict } from './supervisor.ts'
import { nameOf } from './system-calls.ts'

/** The `nth` call `name` that the process makes, from 1. */
export interface Point {
  name: string
  nth: number
  /** What it was about in the run that was recorded: a path, or what a descriptor is. */
  what: string
  /** It may change something outside of the process. */
  changes: boolean
}

export interface Options {
  /** True at the call with which the process begins to be watched. */
  isBegin: (call: Call, pid: number) => boolean
  /** The calls that count; default: all. */
  counts?: (name: string, what: string) => boolean
  /** Done at the point, and with `isLasting` at every call of the same name after it. */
  action?: { point: Point; verdict: Verdict; isLasting?: boolean }
}

export class Watch {
  readonly #options: Options
  readonly #counts = new Map<string, number>()
  /** What the process has done, where nothing is done to it. */
  readonly points: Point[] = []
  pid: number | undefined
  isHit = false

  constructor(options: Options) {
    this.#options = options
  }

  readonly judge: Judge = (call, pid) => {
    const { isBegin, counts, action } = this.#options
    if (this.pid === undefined && isBegin(call, pid)) this.pid = pid
    if (pid !== this.pid) return undefined
    const name = nameOf(call.number)
    const what = counts !== undefined || action === undefined ? aboutOf(name, call, pid) : ''
    if (counts?.(name, what) === false) return undefined
    const nth = (this.#counts.get(name) ?? 0) + 1
    this.#counts.set(name, nth)
    if (action === undefined) this.points.push({ name, nth, what, changes: mayChange(name, what, call) })
    if (name !== action?.point.name || !(nth === action.point.nth || (this.isHit && action.isLasting === true))) return undefined
    this.isHit = true
    return action.verdict
  }
}

/** A plugin reads its configuration: what comes before is the runtime's start. */
export const readsStdin = ({ number, args }: Call): boolean => nameOf(number) === 'read' && args[0] === 0n

/** An agent takes its lock: what comes before is the runtime's start. */
export const takesLock = ({ number }: Call, pid: number): boolean => nameOf(number) === 'flock' && commandOf(pid).includes('agent')

function commandOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
  } catch {
    return [] // it has ended meanwhile
  }
}

const CHANGES = [
  ...['write', 'writev', 'pwrite64', 'ftruncate', 'fsync', 'rename', 'renameat', 'renameat2', 'link', 'linkat', 'unlink', 'unlinkat'],
  ...['mkdir', 'mkdirat', 'rmdir', 'chmod', 'fchmod', 'sendto', 'sendmsg', 'bind', 'flock', 'io_uring_enter', 'vfork', 'execve', 'kill'],
]
const O_CREAT = 0o100n
const TUN = '/dev/net/tun'

const mayChange = (name: string, what: string, { args }: Call): boolean =>
  CHANGES.includes(name) || (name === 'openat' && (args[2]! & O_CREAT) !== 0n) || (what === TUN && ['ioctl', 'close'].includes(name))

/** Which argument is a path. */
const PATHS: Record<string, number> = {
  open: 0,
  stat: 0,
  lstat: 0,
  access: 0,
  execve: 0,
  rename: 0,
  mkdir: 0,
  rmdir: 0,
  link: 1,
  unlink: 0,
  readlink: 0,
  openat: 1,
  statx: 1,
  mkdirat: 1,
  newfstatat: 1,
  unlinkat: 1,
  readlinkat: 1,
}

function aboutOf(name: string, { args, tid }: Call, pid: number): string {
  const at = PATHS[name]
  const path = at === undefined ? '' : textAt(pid, args[at]!)
  return path !== '' ? path : linkOf(tid, Number(args[0]))
}

const LONGEST = 256

/** The string at an address of a process; empty where nothing can be read. */
function textAt(pid: number, address: bigint): string {
  if (address === 0n) return ''
  try {
    const memory = openSync(`/proc/${pid}/mem`, 'r')
    try {
      const bytes = Buffer.alloc(LONGEST)
      const length = readSync(memory, bytes, 0, LONGEST, address)
      return bytes.toString('utf8', 0, length).split('\0', 1)[0]!
    } finally {
      closeSync(memory)
    }
  } catch {
    return ''
  }
}
