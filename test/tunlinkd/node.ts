/**
 * tunlinkd in a namespace that stands for a node, with an API of its own (fake-api.ts) beside it.
 * Root, after a build.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import * as assert from 'uvu/assert'
import { kubeconfig } from '../kubeconfig.ts'
import { eventually, inside, ip } from '../support.ts'

const dist = resolve(import.meta.dirname, '../../dist')
const PORT = 8001

interface Heard {
  method: string
  path: string
  watch: boolean
  type: string
  // biome-ignore lint/suspicious/noExplicitAny: a Kubernetes object
  body: any
}

/** A node, an API server beside it, and tunlinkd. */
export class Node {
  readonly directory = mkdtempSync(join(tmpdir(), 'tunlinkd-'))
  readonly netns = `tld-${process.pid}`
  readonly pod = `tld-${process.pid}-pod`
  readonly heard: Heard[] = []
  log = ''
  #api: ChildProcess | undefined
  tunlinkd: ChildProcess | undefined

  constructor() {
    for (const name of [this.netns, this.pod]) execFileSync('ip', ['netns', 'add', name])
    for (const command of [
      'ip link set lo up',
      'ip link add eth0 type veth peer name wire',
      'ip link set eth0 up',
      'ip link set wire up',
      'ip address add 192.0.2.11/24 dev eth0',
      'ip route add default via 192.0.2.1',
      'ip route add 10.250.0.0/24 via 192.0.2.99',
    ])
      inside(this.netns, ...command.split(' '))
    writeFileSync(this.path('kubeconfig'), kubeconfig(PORT))
    this.configure('{}')
  }

  path = (name: string) => join(this.directory, name)
  configure = (text: string) => writeFileSync(this.path('config.json'), text)
  text = (name: string) => (existsSync(this.path(name)) ? readFileSync(this.path(name), 'utf8') : undefined)
  conflist = () => JSON.parse(this.text('conf/10-tunlink.conflist') ?? 'null')
  routes = () => ip(this.netns, 'route').map(({ dst, gateway }: { dst: string; gateway?: string }) => `${dst} ${gateway ?? ''}`)
  events = () => this.heard.filter(({ method }) => method === 'POST').map(({ body }) => `${body.reason}: ${body.message}`)
  hasTable = () => spawnSync('ip', ['netns', 'exec', this.netns, 'nft', 'list', 'table', 'inet', 'tunlink-cluster']).status === 0

  async startApi(): Promise<void> {
    const node = resolve(import.meta.dirname, '../node')
    const child = spawn('ip', ['netns', 'exec', this.netns, node, join(import.meta.dirname, 'fake-api.ts'), String(PORT)], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    this.#api = child
    child.stdin!.on('error', () => {}) // of an API that ends, what it was told last may be lost
    let ready = false
    createInterface(child.stdout!).on('line', line => {
      const { ready: isReady, body, ...rest } = JSON.parse(line)
      if (isReady) ready = true
      else this.heard.push({ ...rest, body: body === '' ? undefined : JSON.parse(body) })
    })
    await eventually('the API answers', () => ready)
  }

  stopApi(): void {
    this.#api?.kill('SIGKILL')
    this.#api = undefined
  }

  /** A line for the API: see fake-api.ts. Resolves when the API has room for more. */
  async tell(line: object): Promise<void> {
    const { stdin } = this.#api!
    if (!stdin!.write(`${JSON.stringify(line)}\n`)) await once(stdin!, 'drain')
  }

  /** What the API says from now on. */
  nodes(...nodes: object[]): void {
    void this.tell(nodes)
  }

  /** `before` is a command that runs the program, such as capsh. */
  run(command: string[], { before = [], flags = [] }: { before?: string[]; flags?: string[] } = {}): ChildProcess {
    const paths = { 'cni-bin-dir': 'bin', 'cni-conf-dir': 'conf', 'data-dir': 'data', config: 'config.json', kubeconfig: 'kubeconfig' }
    const given = Object.entries(paths).map(([flag, name]) => `--${flag}=${this.path(name)}`)
    const program = [join(dist, 'tunlink'), join(dist, 'tunlinkd.cjs'), ...command, '--node-name=n1', ...given, ...flags]
    const child = spawn('ip', ['netns', 'exec', this.netns, ...before, ...program], { env: { ...process.env, BUN_BE_BUN: '1' } })
    for (const stream of [child.stdout!, child.stderr!]) stream.on('data', chunk => (this.log += chunk))
    return child
  }

  start(...flags: string[]): void {
    this.tunlinkd = this.run([], { flags })
  }

  /** Ends tunlinkd; resolves with its exit status. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    const child = this.tunlinkd!
    const status = ended(child)
    child.kill(signal)
    return status
  }

  /** A heartbeat of a node. */
  touch(name: string): void {
    void this.tell({ touch: name })
  }

  /**
   * The Node with the conditions that tunlinkd has set, as the API keeps them when somebody changes
   * something else of it.
   */
  withConditions<T extends { status: object }>(one: T): [T] {
    const conditions = this.heard.filter(({ method }) => method === 'PATCH').at(-1)!.body.status.conditions
    return [{ ...one, status: { ...one.status, conditions } }]
  }

  /** A plugin in the runtime's directory. */
  script(name: string, body: string): void {
    writeFileSync(this.path(`bin/.${name}`), `#!/bin/sh\n${body}\n`, { mode: 0o755 })
    renameSync(this.path(`bin/.${name}`), this.path(`bin/${name}`))
  }

  /** What the agent says of itself; undefined when none answers. */
  agent(): { pid: number; links: number } | undefined {
    const { status, stdout } = spawnSync(join(dist, 'tunlink'), ['status', '--data-dir', this.path('data')], { encoding: 'utf8' })
    return status === 0 ? JSON.parse(stdout) : undefined
  }

  /**
   * Runs `body` beside fifty pings of the pod a second, and a second longer; none of those may be
   * lost.
   */
  async whilePinging(address: string, body: () => Promise<void>): Promise<void> {
    const ping = spawn('ip', ['netns', 'exec', this.netns, 'ping', '-i', '0.02', address])
    let report = ''
    ping.stdout.on('data', chunk => (report += chunk))
    const pinged = ended(ping)
    const answers = () => [...report.matchAll(/icmp_seq=(\d+) .*time=/g)].map(match => Number(match[1]))
    try {
      await body()
      const before = answers().length
      await eventually('the pod answers still', () => answers().length > before + 50)
    } finally {
      ping.kill('SIGINT')
      await pinged
    }
    assert.equal(
      answers(),
      answers().map((_, index) => index + 1),
    )
  }

  get(path: string): string {
    const answer = this.tryGet(path)
    assert.is.not(answer, '', `GET ${path}`)
    return answer
  }

  /** Status and body; empty when nobody answers. */
  tryGet(path: string): string {
    const command = [resolve(import.meta.dirname, '../node'), '-e', FETCH, `http://127.0.0.1:9641${path}`]
    return spawnSync('ip', ['netns', 'exec', this.netns, ...command], { encoding: 'utf8' }).stdout
  }

  /** A CNI call with the conflist that tunlinkd has written. */
  cni(command: string) {
    const { status, stdout } = this.tryCni(command, 'pod', this.pod)
    assert.is(status, 0, stdout)
    return stdout === '' ? undefined : JSON.parse(stdout)
  }

  /**
   * `annotations` are the pod's, as a runtime hands them over where the plugin has the capability.
   */
  tryCni(command: string, containerID: string, netns: string, annotations?: Record<string, string>) {
    const { cniVersion, name, plugins } = this.conflist()
    const env = {
      CNI_COMMAND: command,
      CNI_CONTAINERID: containerID,
      CNI_NETNS: `/run/netns/${netns}`,
      CNI_IFNAME: 'eth0',
      CNI_PATH: this.path('bin'),
    }
    const { capabilities, ...plugin } = plugins[0]
    const key = 'io.kubernetes.cri.pod-annotations'
    const runtimeConfig = capabilities[key] === true && annotations !== undefined ? { [key]: annotations } : {}
    const input = JSON.stringify({ cniVersion, name, ...plugin, runtimeConfig })
    return spawnSync('ip', ['netns', 'exec', this.netns, this.path('bin/tunlink')], { input, encoding: 'utf8', env })
  }

  async close(): Promise<void> {
    if (this.tunlinkd?.exitCode === null) await this.stop()
    this.stopApi()
    const agent = this.agent()
    if (agent !== undefined) process.kill(agent.pid, 'SIGKILL')
    for (const name of [this.netns, this.pod]) spawnSync('ip', ['netns', 'del', name])
    rmSync(this.directory, { recursive: true, force: true })
  }
}

export const ended = (child: ChildProcess) => new Promise<number | null>(done => child.on('exit', status => done(status)))

const FETCH = 'fetch(process.argv[1]).then(async answer => console.log(answer.status, await answer.text()))'
/** As much of a Node as tunlinkd reads. */
export const k8sNode = (name: string, address: string, podCIDR?: string) => ({
  metadata: { name },
  spec: podCIDR === undefined ? {} : { podCIDR, podCIDRs: [podCIDR] },
  status: { addresses: [{ type: 'InternalIP', address }] },
})
