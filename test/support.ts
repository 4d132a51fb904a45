/**
 * What the live tests share: namespaces of their own, and the built executables run as a runtime
 * would run them.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'

const dist = resolve(import.meta.dirname, '../dist')

export const VERSIONS = ['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0']

export interface Output {
  status: number | null
  stdout: string
  stderr: string
  // biome-ignore lint/suspicious/noExplicitAny: whatever the plugin printed
  json: any
}

/** `ip -j ARGS` in a namespace. */
// biome-ignore lint/suspicious/noExplicitAny: whatever ip(8) printed
export const ip = (netns: string, ...args: string[]): any =>
  JSON.parse(execFileSync('ip', ['-n', netns, '-j', ...args], { encoding: 'utf8' }) || '[]')

export const inside = (netns: string, ...command: string[]) =>
  execFileSync('ip', ['netns', 'exec', netns, ...command], { encoding: 'utf8' })

/**
 * TUNLINK_SLOW=1: the machine is an emulated one, ten to twenty times slower. Less is sent, and
 * more time is given.
 */
export const isSlow = process.env.TUNLINK_SLOW === '1'

/**
 * Both forms of the plugin, by name; on a slow machine the one alone that starts quickly: they are
 * the same source.
 */
export const EXECUTABLES: [string, string][] = [
  ['tunlink', join(dist, 'tunlink')],
  ...(isSlow ? [] : [['tunlink.cjs', join(dist, 'tunlink.cjs')] as [string, string]]),
]

/** So many of whatever costs time: a sixteenth of them on a slow machine. */
export const many = (count: number): number => (isSlow ? Math.ceil(count / 16) : count)

/**
 * The cases of a table: on a slow machine only `count` of them, spread over it.
 */
export const some = <T>(cases: readonly T[], count: number): T[] =>
  isSlow ? Array.from({ length: count }, (_, at) => cases[Math.floor((at * cases.length) / count)]!) : [...cases]

/** Bytes of so many MiB, see many(). */
export const mebibytes = (count: number): number => many(count) << 20

/** True when `to` answers from `from`. */
export const pings = (from: string, to: string) =>
  spawnSync('ip', ['netns', 'exec', from, 'ping', '-c', '1', '-W', isSlow ? '10' : '2', to]).status === 0

/**
 * One node and its pods, each a namespace, and a state directory: all gone at the end of a block
 * with `using lab = new Lab()`.
 */
export class Lab {
  readonly dataDir = mkdtempSync(join(tmpdir(), 'tunlink-test-'))
  readonly node: string
  executable: string
  readonly #namespaces: string[] = []

  constructor(executable = EXECUTABLES[0]![1]) {
    if (process.getuid?.() !== 0) throw new Error('The live tests make network namespaces and TUN devices: run them as root')
    this.executable = executable
    this.node = this.netns()
  }

  /**
   * A new namespace with lo up. It forwards nothing, whatever it was given: a namespace begins with
   * the machine's own IPv4 settings.
   */
  netns(): string {
    const name = `tlt-${process.pid}-${counter++}`
    execFileSync('ip', ['netns', 'add', name])
    this.#namespaces.push(name)
    inside(name, 'ip', 'link', 'set', 'lo', 'up')
    inside(name, 'sysctl', '-qw', 'net.ipv4.ip_forward=0')
    return name
  }

  /** A command to put in front of what runs on the node, such as `prlimit --nofile=256:256`. */
  wrapper: string[] = []

  /** Runs the executable on the node. `env` entries that are undefined are unset. */
  run(env: Record<string, string | undefined>, stdin: string): Output {
    const path = `${dirname(process.execPath)}:${process.env.PATH}`
    const { status, stdout, stderr } = spawnSync('ip', ['netns', 'exec', this.node, ...this.wrapper, this.executable], {
      input: stdin,
      encoding: 'utf8',
      env: { PATH: path, ...env },
    })
    return { status, stdout, stderr, json: parse(stdout) }
  }

  /** One CNI call about a pod; `conf` over a configuration with the built-in IPAM. */
  cni(command: string, pod: string, conf: object = {}, env: Record<string, string | undefined> = {}): Output {
    return this.run({ ...environment(command, pod), ...env }, JSON.stringify({ ...this.conf, ...conf }))
  }

  /** must() that lets other calls run beside it: the result that it printed. */
  mustBeside(command: string, pod: string, conf: object = {}): Promise<string> {
    const child = spawn('ip', ['netns', 'exec', this.node, this.executable], {
      env: { PATH: process.env.PATH, ...environment(command, pod) },
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    let text = ''
    child.stdout.on('data', chunk => (text += chunk))
    child.stdin.end(JSON.stringify({ ...this.conf, ...conf }))
    return new Promise((done, fail) =>
      child.on('close', status => (status === 0 ? done(text) : fail(new Error(`${command} of ${pod} failed: ${text}`)))),
    )
  }

  /** cni(), which must succeed. */
  must(command: string, pod: string, conf: object = {}, env: Record<string, string | undefined> = {}): Output {
    const output = this.cni(command, pod, conf, env)
    if (output.status !== 0) throw new Error(`${command} failed: ${output.stdout}${output.stderr}`)
    return output
  }

  get conf() {
    return {
      cniVersion: '1.1.0',
      name: 'net',
      type: 'tunlink',
      dataDir: this.dataDir,
      agent: { idleSeconds: 1 },
      ipam: { type: 'tunlink', subnet: '10.66.0.0/24' },
    }
  }

  /** Runs `body` with another plugin in the place of ours. */
  with<T>(executable: string, body: () => T): T {
    const own = this.executable
    this.executable = executable
    try {
      return body()
    } finally {
      this.executable = own
    }
  }

  /** Links of a namespace but lo. */
  links(netns: string): string[] {
    return (ip(netns, 'link') as { ifname: string }[]).map(({ ifname }) => ifname).filter(name => name !== 'lo')
  }

  /** Links of a pod as its owner names them: without the hidden ends of kernel wires. */
  podLinks(netns: string): string[] {
    return this.links(netns).filter(name => !/^tl[0-9a-f]{13}$/.test(name))
  }

  /** Files under links/ and ipam/: records and leases. */
  files(): string[] {
    return ['links', 'ipam'].flatMap(part => {
      const directory = join(this.dataDir, part)
      if (!existsSync(directory)) return []
      return readdirSync(directory, { recursive: true, withFileTypes: true })
        .filter(entry => entry.isFile())
        .map(entry => entry.name)
    })
  }

  /** Process ID of the agent; undefined when none serves this directory. */
  agentPid(): number | undefined {
    for (const entry of readdirSync('/proc').filter(name => /^\d+$/.test(name))) {
      try {
        const words = readFileSync(`/proc/${entry}/cmdline`, 'utf8').split('\0')
        if (words.includes('agent') && words.includes(this.dataDir)) return Number(entry)
      } catch {
        // It has ended meanwhile.
      }
    }
    return undefined
  }

  [Symbol.dispose](): void {
    this.close()
  }

  /** For a lab that outlives the block that it is made in. */
  close(): void {
    const agent = this.agentPid()
    if (agent !== undefined) process.kill(agent, 'SIGKILL')
    for (const name of this.#namespaces) spawnSync('ip', ['netns', 'del', name])
    rmSync(this.dataDir, { recursive: true, force: true })
  }
}

let counter = 0

/** What a runtime says of a call about a pod. */
export const environment = (command: string, pod: string) => ({
  CNI_COMMAND: command,
  CNI_CONTAINERID: pod,
  CNI_NETNS: `/run/netns/${pod}`,
  CNI_IFNAME: 'eth0',
  CNI_PATH: `${dist}:/usr/lib/cni`,
})

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** Resolves when `condition` holds; throws after `seconds`, ten times as many on a slow machine. */
export async function eventually(what: string, condition: () => boolean | Promise<boolean>, seconds = 30): Promise<void> {
  const deadline = Date.now() + seconds * 1000 * (isSlow ? 10 : 1)
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`did not happen within ${seconds} s: ${what}`)
    await new Promise(resolve => setTimeout(resolve, 50))
  }
}
