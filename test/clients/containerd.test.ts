/**
 * containerd as a client of the plugin, driven over CRI as a kubelet does, on a node of its own. It
 * is the machine's own, or with TUNLINK_CONTAINERD one of another Debian release (see suite);
 * TUNLINK_OCI is runc or crun.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, openSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { eventually, inside, ip, Lab, pings } from '../support.ts'
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
const asksStatus = Number(version[1]) >= 2
const cniVersion = asksStatus ? '1.1.0' : '1.0.0'
const test = suite(`containerd ${version[1]}.${version[2]}, ${oci}`)

const config = (root: string, bin: string, conf: string) => `version = 2 # which 2.x reads too
root = "${root}/root"
state = "${root}/state"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.internal.v1.tracing"]
[grpc]
  address = "${root}/sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  disable_apparmor = true
  restrict_oom_score_adj = true # a pod's first process may not get -998 without CAP_SYS_RESOURCE
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

/** A containerd in the node's network namespace, whose only configured network is ours. */
class Containerd {
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

  /** Writes the configuration of the network; as whole files only are seen, it may be running. */
  configure(conf: object): void {
    const plugin = { type: 'tunlink', dataDir: this.lab.dataDir, agent: { idleSeconds: 1 }, ipam: { type: 'tunlink', ranges: RANGES } }
    const list = { cniVersion, name: `tunlink-test-${process.pid}`, plugins: [{ ...plugin, ...conf }] }
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
    const imported = this.#ctr('-n', 'k8s.io', 'images', 'import', join(cache, 'pause.tar'))
    assert.is(imported.status, 0, imported.stderr)
    this.cri = new Cri(join(this.#root, 'sock'))
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
  run(name: string, seconds?: number): Promise<string> {
    return this.cri!.runPodSandbox(name, this.#root, seconds)
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

const leftovers = ({ lab }: Containerd) => [...lab.links(lab.node), ...lab.files()]

test('two sandboxes, dual-stack: addresses, reachability; StopPodSandbox twice; nothing left', async () => {
  const containerd = new Containerd()
  const { lab } = containerd
  try {
    const cri = await containerd.start()
    const ids = [await containerd.run('one'), await containerd.run('two')]
    const [one, two] = [await cri.podSandboxStatus(ids[0]!), await cri.podSandboxStatus(ids[1]!)]
    const shown = ip(basename(one.netns), 'addr', 'show', 'dev', 'eth0')[0].addr_info.map(({ local }: { local: string }) => local)
    assert.is(one.ips.length, 2)
    assert.equal(shown.sort(), one.ips.toSorted())
    for (const address of two.ips) {
      assert.ok(pings(lab.node, address), `${address} answers the node`)
      assert.ok(pings(basename(one.netns), address), `${address} answers the other pod`)
    }
    assert.is(lab.links(lab.node).length, 2)
    for (const id of ids) {
      await cri.stopPodSandbox(id)
      await cri.stopPodSandbox(id) // this DEL has neither CNI_NETNS nor prevResult
      await cri.removePodSandbox(id)
    }
    assert.equal(leftovers(containerd), [])
  } finally {
    await containerd.close()
  }
})

test('twenty sandboxes at once: no address twice, nothing left', async () => {
  const containerd = new Containerd()
  try {
    const cri = await containerd.start()
    const ids = await Promise.all(Array.from({ length: 20 }, (_, i) => containerd.run(`pod${i}`)))
    const addresses = (await Promise.all(ids.map(id => cri.podSandboxStatus(id)))).flatMap(({ ips }) => ips)
    assert.is(new Set(addresses).size, 40)
    await Promise.all(ids.map(id => containerd.remove(id)))
    assert.equal(leftovers(containerd), [])
  } finally {
    await containerd.close()
  }
})

test('a containerd that is killed leaves the links working, and its successor removes them', async () => {
  const containerd = new Containerd()
  const { lab } = containerd
  try {
    await containerd.start()
    const id = await containerd.run('one')
    const { ips } = await containerd.cri!.podSandboxStatus(id)
    await containerd.kill('SIGKILL')
    for (const address of ips) assert.ok(pings(lab.node, address), `${address} answers`)
    await containerd.start()
    for (const address of ips) assert.ok(pings(lab.node, address), `${address} answers`)
    await containerd.remove(id)
    assert.equal(leftovers(containerd), [])
  } finally {
    await containerd.close()
  }
})

test('a refused ADD reaches the caller in our words and leaves nothing', async () => {
  const containerd = new Containerd({ ipam: { type: 'tunlink', subnet: '10.66.0.4/32' } })
  try {
    await containerd.start()
    await containerd.run('one')
    const before = leftovers(containerd)
    const refusal = await containerd.run('two').then(
      () => 'no error',
      (error: Error) => error.message,
    )
    assert.match(refusal, /plugin type="tunlink" failed \(add\).*no addresses available/s)
    assert.equal(leftovers(containerd), before)
    assert.match(inside(containerd.lab.node, 'ip', 'route'), /10\.66\.0\.4/)
  } finally {
    await containerd.close()
  }
})

test('the deadline passes while the plugin runs: SIGKILL, then DEL, and nothing is left', async () => {
  const containerd = new Containerd()
  const { out } = containerd
  // It has made the link when it is killed, and the runtime has no result of it.
  containerd.writePlugin(
    'slow',
    `echo $CNI_COMMAND >>${out}; [ $CNI_COMMAND = ADD ] || exec TUNLINK; TUNLINK >${out}.result && echo added >>${out} && exec sleep 600`,
  )
  try {
    containerd.configure({ type: 'slow' })
    await containerd.start()
    const refusal = await containerd.run('one', 5).then(
      () => 'no error',
      (error: Error) => error.message,
    )
    assert.match(refusal, /deadline|DeadlineExceeded|killed/i)
    await eventually('the link and its addresses are gone', () => leftovers(containerd).length === 0, 30)
    const calls = readFileSync(out, 'utf8')
      .split('\n')
      .filter(line => line !== 'STATUS')
    assert.equal(calls.slice(0, 3), ['ADD', 'added', 'DEL'])
    assert.equal(await containerd.cri!.listPodSandbox(), [])
  } finally {
    await containerd.close()
  }
})

test(asksStatus ? 'STATUS is asked for: its error is NetworkReady=false, and it comes back' : 'STATUS is not asked for', async () => {
  const containerd = new Containerd({ wire: 'thread', agent: { spawn: false } })
  try {
    await containerd.startOnly()
    const ready = async () => containerd.cri!.networkReady()
    if (!asksStatus) {
      for (let tries = 0; !(await ready()).isReady && tries < 100; tries++) await new Promise(done => setTimeout(done, 50))
      assert.is((await ready()).isReady, true)
      return
    }
    const before = await ready()
    assert.is(before.isReady, false)
    assert.match(before.message, /no agent answers/)
    containerd.configure({ agent: { idleSeconds: 1 } })
    for (let tries = 0; !(await ready()).isReady && tries < 100; tries++) await new Promise(done => setTimeout(done, 50))
    assert.is((await ready()).isReady, true)
  } finally {
    await containerd.close()
  }
})

test('a container that is not privileged may open /dev/net/tun', async () => {
  const containerd = new Containerd()
  try {
    const cri = await containerd.start()
    const pod = await containerd.run('one')
    const code = await cri.runContainer(pod, 'one', {
      image: 'localhost/pause:1',
      command: ['/bin/sh', '-c', 'exec 3<>/dev/net/tun'],
      device: '/dev/net/tun',
    })
    assert.is(code, 0)
  } finally {
    await containerd.close()
  }
})

test.run()
