/**
 * A containerd of the tests' own, driven over CRI as a kubelet does, on a node of its own. It is
 * the machine's, or with TUNLINK_CONTAINERD one of another Debian release (see suite); TUNLINK_OCI
 * is runc or crun.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, openSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import * as assert from 'uvu/assert'
import { eventually, Lab } from '../support.ts'
import { Cri } from './cri.ts'

const cache = execFileSync(resolve(import.meta.dirname, 'setup'), { encoding: 'utf8' }).trim()
const dist = resolve(import.meta.dirname, '../../dist')
const RANGES = [[{ subnet: '10.66.0.0/24' }], [{ subnet: 'fd66::/64' }]]
const release = process.env.TUNLINK_CONTAINERD ?? ''
const oci = process.env.TUNLINK_OCI ?? 'runc'
const directory = release === '' ? '' : execFileSync(resolve(import.meta.dirname, 'suite'), [release], { encoding: 'utf8' }).trim()
const PATH = directory === '' ? process.env.PATH! : `${directory}/bin:${process.env.PATH}`
const version = execFileSync('containerd', ['--version'], { encoding: 'utf8', env: { PATH } }).match(/ v?(\d+)\.(\d+)\./)!
/** From 2.0 on it asks each plugin for its STATUS, and knows CNI 1.1.0. */
export const asksStatus = Number(version[1]) >= 2
/** From 1.7 on, and from 2.0 on unless switched off. */
export const hasCdi = asksStatus || Number(version[2]) >= 7
const cniVersion = asksStatus ? '1.1.0' : '1.0.0'
/** What is tested, for the titles of suites. */
export const runtimeName = `containerd ${version[1]}.${version[2]}, ${oci}`

const config = (root: string, bin: string, conf: string) => `version = 2 # which 2.x reads too
root = "${root}/root"
state = "${root}/state"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.internal.v1.tracing"]
[grpc]
  address = "${root}/sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  disable_apparmor = true
  # a container's user may open the container's devices
  device_ownership_from_security_context = true
  restrict_oom_score_adj = true # a pod's first process may not get -998 without CAP_SYS_RESOURCE
${hasCdi ? `  enable_cdi = true\n  cdi_spec_dirs = ["${resolve(import.meta.dirname, '../../manifests/examples/cdi')}"]` : ''}
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "${bin}"
    conf_dir = "${conf}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        BinaryName = "${oci}"
`

/**
 * crun refuses cgroup v2 beside v1, which is how some machines have it: containerd then sees v1
 * alone.
 */
const hideUnified = 'mount --make-rprivate /sys; umount -l /sys/fs/cgroup/unified 2>/dev/null; exec "$@"'

interface RunOptions {
  seconds?: number
  /** Of the pod. */
  annotations?: Record<string, string>
}

/** A containerd in the node's network namespace, whose only configured network is ours. */
export class Containerd {
  readonly lab = new Lab()
  readonly #root = mkdtempSync('/tmp/tlc-') // short: unix sockets lie below it
  readonly #net: string
  #process: ChildProcess | undefined
  cri: Cri | undefined

  /** `conf` over that of our plugin. */
  constructor(conf: object = {}) {
    const [bin, net] = [join(this.#root, 'bin'), join(this.#root, 'net.d')]
    mkdirSync(bin)
    mkdirSync(net)
    symlinkSync(join(dist, 'tunlink'), join(bin, 'tunlink'))
    symlinkSync('/usr/lib/cni/loopback', join(bin, 'loopback')) // containerd calls it for each pod
    this.#net = net
    this.configure(conf)
    writeFileSync(join(this.#root, 'config.toml'), config(this.#root, bin, net))
  }

  /**
   * Writes the configuration of the network, with the plugins `behind` ours; as whole files only
   * are seen, it may be running.
   */
  configure(conf: object, ...behind: object[]): void {
    const plugin = { type: 'tunlink', dataDir: this.lab.dataDir, agent: { idleSeconds: 1 }, ipam: { type: 'tunlink', ranges: RANGES } }
    const list = { cniVersion, name: `tunlink-test-${process.pid}`, plugins: [{ ...plugin, ...conf }, ...behind] }
    writeFileSync(join(this.#net, '.new'), JSON.stringify(list))
    renameSync(join(this.#net, '.new'), join(this.#net, '10-test.conflist'))
  }

  #ctr(...command: string[]) {
    return spawnSync('ctr', ['-a', join(this.#root, 'sock'), ...command], { encoding: 'utf8', env: { PATH } })
  }

  /** Starts, or starts again. */
  async start(): Promise<Cri> {
    await this.startOnly()
    for (let tries = 0; !(await this.cri!.networkReady()).isReady; tries++) {
      if (tries > 100) throw new Error(`the network is not ready: ${this.log()}`)
      await new Promise(done => setTimeout(done, 50))
    }
    return this.cri!
  }

  /** start() without waiting for the network. */
  async startOnly(): Promise<void> {
    const log = openSync(join(this.#root, 'log'), 'a')
    const command = ['containerd', '-c', join(this.#root, 'config.toml')]
    const wrapped = oci === 'crun' ? ['unshare', '-m', '--propagation', 'unchanged', 'sh', '-c', hideUnified, 'sh', ...command] : command
    this.#process = spawn('nsenter', [`--net=/run/netns/${this.lab.node}`, ...wrapped], { stdio: ['ignore', log, log], env: { PATH } })
    await eventually('containerd answers', () => this.#ctr('version').status === 0, 20)
    this.importImage(join(cache, 'pause.tar'))
    this.cri = new Cri(join(this.#root, 'sock'))
  }

  /** An archive as `podman save` writes it. */
  importImage(archive: string): void {
    const { status, stderr } = this.#ctr('-n', 'k8s.io', 'images', 'import', archive)
    assert.is(status, 0, stderr)
  }

  /** Puts a plugin beside ours that is this shell script; TUNLINK is the path of ours. */
  writePlugin(type: string, script: string): void {
    const file = join(this.#root, 'bin', type)
    writeFileSync(file, `#!/bin/sh\n${script.replaceAll('TUNLINK', join(dist, 'tunlink'))}\n`, { mode: 0o755 })
  }

  /** What the plugin of writePlugin() has written to the file that it calls OUT. */
  get out(): string {
    return join(this.#root, 'out')
  }

  async kill(signal: NodeJS.Signals): Promise<void> {
    this.cri?.close()
    const child = this.#process
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const ended = new Promise(done => child.on('exit', done))
    child.kill(signal)
    await ended
  }

  log(): string {
    return readFileSync(join(this.#root, 'log'), 'utf8').slice(-4000)
  }

  /**
   * Returns the sandbox's ID. Without an answer within `seconds` the runtime is told to give up.
   */
  run(name: string, { seconds, annotations }: RunOptions = {}): Promise<string> {
    return this.cri!.runPodSandbox({ name, logDirectory: this.#root, annotations }, seconds)
  }

  async remove(id: string): Promise<void> {
    await this.cri!.stopPodSandbox(id)
    await this.cri!.removePodSandbox(id)
  }

  async close(): Promise<void> {
    try {
      for (const id of await this.cri!.listPodSandbox()) await this.remove(id)
    } finally {
      await this.kill('SIGTERM')
      rmSync(this.#root, { recursive: true, force: true })
      this.lab.close()
    }
  }
}
