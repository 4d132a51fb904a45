/** One node of a cluster: namespaces and a directory, with its own containerd and kubelet. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { API, CERTIFICATE_AUTHORITY, KUBE, PORT, SERVER, SERVICE } from './control-plane.ts'
import { containerdToml, kubeconfig, kubeletConfig, proxyConfig, serviceRules, TOKENS } from './files.ts'
import { cgroupCreate, DIRECTORY, FABRIC, nodeNetns, remove } from './namespaces.ts'
import { PATH, SUITE } from './runtime.ts'

export interface MachineOptions {
  name: string
  /** Of IPv4, then of IPv6 where the cluster has both; the gateways likewise. */
  addresses: string[]
  gateways: string[]
  /** Its port is one of this bridge; without, the gateways are on a leg of its own. */
  bridge?: string
  /** The pods' networks in the whole cluster, where kube-proxy is to run. */
  proxy?: { clusterCIDR: string }
  /** Image archives to import. */
  images: string[]
}

export class Machine {
  readonly options: MachineOptions
  readonly directory: string
  #init: ChildProcess | undefined

  constructor(options: MachineOptions) {
    this.options = options
    this.directory = join(DIRECTORY, options.name)
  }

  get name(): string {
    return this.options.name
  }

  get address(): string {
    return this.options.addresses[0]!
  }

  get addresses(): string[] {
    return this.options.addresses
  }

  get netns(): string {
    return nodeNetns(this.name)
  }

  /** Powers it on. What is in its /etc, /opt and /var is as it was. */
  start(): void {
    const { name, addresses } = this.options
    mkdirSync(this.directory, { recursive: true })
    this.#connect()
    this.#configure()
    cgroupCreate(this.netns)
    const log = openSync(join(this.directory, 'node.log'), 'a')
    const script = join(import.meta.dirname, 'node')
    const command = [
      'unshare',
      '-m',
      '-u',
      '--propagation',
      'slave',
      'bash',
      script,
      name,
      addresses.join(),
      this.directory,
      KUBE,
      SUITE,
      ...this.options.images,
    ]
    // detached: an interrupt at the terminal is for the tests, which then tear the node down
    this.#init = spawn('nsenter', [`--net=/run/netns/${this.netns}`, ...command], {
      stdio: ['ignore', log, log],
      env: { ...process.env, PATH },
      detached: true,
    })
    this.#init.unref()
  }

  #configure(): void {
    const { name, addresses, proxy } = this.options
    const write = (file: string, content: string) => writeFileSync(join(this.directory, file), content)
    const dualStack = addresses.length > 1
    write('containerd.toml', containerdToml())
    write('kubelet.yaml', kubeletConfig({ address: this.address, cgroupRoot: `/${this.netns}`, dualStack, proxy: proxy !== undefined }))
    write('kubeconfig', kubeconfig(SERVER, CERTIFICATE_AUTHORITY, TOKENS.node(name)))
    if (proxy === undefined) return
    write('proxy.kubeconfig', kubeconfig(SERVER, CERTIFICATE_AUTHORITY, TOKENS.proxy))
    write('kube-proxy.yaml', proxyConfig(name, join(this.directory, 'proxy.kubeconfig'), proxy.clusterCIDR, dualStack))
  }

  #connect(): void {
    const { name, addresses, gateways, bridge, proxy } = this.options
    const leg = `up-${name}`
    const ip = (...words: string[]) => execFileSync('ip', words)
    ip('netns', 'add', this.netns)
    ip('-n', FABRIC, 'link', 'add', leg, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', this.netns)
    if (bridge !== undefined) ip('-n', FABRIC, 'link', 'set', leg, 'master', bridge)
    else for (const gateway of gateways) addressAdd(FABRIC, gateway, leg)
    ip('-n', FABRIC, 'link', 'set', leg, 'up')
    ip('-n', this.netns, 'link', 'set', 'lo', 'up')
    for (const address of addresses) addressAdd(this.netns, address, 'eth0')
    ip('-n', this.netns, 'link', 'set', 'eth0', 'up')
    for (const gateway of gateways) ip('-n', this.netns, 'route', 'add', 'default', 'via', gateway)
    if (proxy !== undefined) return
    execFileSync('nsenter', [`--net=/run/netns/${this.netns}`, 'iptables-restore'], { input: serviceRules(SERVICE, API, PORT) })
  }

  /**
   * Ends every process of it, and its namespaces with them: a power cut. Its /run is lost, its disk
   * is not.
   */
  stop(): void {
    remove(this.netns)
    this.#init = undefined
    // the kernel may take its time
    spawnSync('ip', ['-n', FABRIC, 'link', 'del', `up-${this.name}`])
    rmSync(join(this.directory, 'run'), { recursive: true, force: true })
  }

  #pid(): number {
    if (this.#init?.pid === undefined) throw new Error(`Node ${this.name} is down`)
    return this.#init.pid
  }

  /** A path on the node, as seen from outside. */
  path(path: string): string {
    return `/proc/${this.#pid()}/root${path}`
  }

  command(...command: string[]): [string, string[]] {
    return ['nsenter', ['-t', String(this.#pid()), '-m', '-n', '-u', '--wd=/', '--', 'env', `PATH=${PATH}`, ...command]]
  }

  /** Runs a command on the node; throws when it fails. */
  run(...command: string[]): string {
    return execFileSync(...this.command(...command), { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
  }

  /** Whether a command on the node succeeds. */
  succeeds(...command: string[]): boolean {
    return spawnSync(...this.command(...command)).status === 0
  }

  /** `ip -j ARGS`. */
  // biome-ignore lint/suspicious/noExplicitAny: whatever ip(8) printed
  ip(...args: string[]): any {
    return JSON.parse(this.run('ip', '-j', ...args) || '[]')
  }

  /** Kills containerd or the kubelet, which the node then starts again. */
  kill(daemon: 'containerd' | 'kubelet'): void {
    process.kill(Number(readFileSync(join(this.directory, `${daemon}.pid`), 'utf8')), 'SIGKILL')
  }

  /** The end of a log: containerd, kubelet or node. */
  log(name: string, lines = 15): string {
    return execFileSync('tail', ['-n', String(lines), join(this.directory, `${name}.log`)], { encoding: 'utf8' })
  }
}

/** Nobody else has it: no duplicate address detection, which would hold an IPv6 address back. */
export function addressAdd(netns: string, address: string, device: string): void {
  const isIPv6 = address.includes(':')
  const rest = isIPv6 ? ['nodad'] : []
  execFileSync('ip', ['-n', netns, 'address', 'add', `${address}/${isIPv6 ? 64 : 24}`, 'dev', device, ...rest])
}
