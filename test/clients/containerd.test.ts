/** containerd as a client of the plugin, driven over CRI as a kubelet does, on a node of its own. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { eventually, inside, ip, Lab, pings } from '../support.ts'
import { Cri } from './cri.ts'

const cache = execFileSync(resolve(import.meta.dirname, 'setup'), { encoding: 'utf8' }).trim()
const dist = resolve(import.meta.dirname, '../../dist')
const RANGES = [[{ subnet: '10.66.0.0/24' }], [{ subnet: 'fd66::/64' }]]
const test = suite('containerd')

const config = (root: string, bin: string, conf: string) => `version = 2
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
`

/** A containerd in the node's network namespace, whose only configured network is ours. */
class Containerd {
  readonly lab = new Lab()
  readonly #root = mkdtempSync('/tmp/tlc-') // short: unix sockets lie below it
  #process: ChildProcess | undefined
  cri: Cri | undefined

  constructor(conf: object = {}) {
    const [bin, net] = [join(this.#root, 'bin'), join(this.#root, 'net.d')]
    mkdirSync(bin)
    mkdirSync(net)
    symlinkSync(join(dist, 'tunlink'), join(bin, 'tunlink'))
    symlinkSync('/usr/lib/cni/loopback', join(bin, 'loopback')) // containerd calls it for each pod
    const plugin = { type: 'tunlink', dataDir: this.lab.dataDir, agent: { idleSeconds: 1 }, ipam: { type: 'tunlink', ranges: RANGES } }
    const list = { cniVersion: '1.0.0', name: `tunlink-test-${process.pid}`, plugins: [{ ...plugin, ...conf }] }
    writeFileSync(join(net, '10-test.conflist'), JSON.stringify(list))
    writeFileSync(join(this.#root, 'config.toml'), config(this.#root, bin, net))
  }

  #ctr(...command: string[]) {
    return spawnSync('ctr', ['-a', join(this.#root, 'sock'), ...command], { encoding: 'utf8' })
  }

  /** Starts, or starts again. */
  async start(): Promise<Cri> {
    const log = openSync(join(this.#root, 'log'), 'a')
    const command = ['containerd', '-c', join(this.#root, 'config.toml')]
    this.#process = spawn('nsenter', [`--net=/run/netns/${this.lab.node}`, ...command], { stdio: ['ignore', log, log] })
    await eventually('containerd answers', () => this.#ctr('version').status === 0, 20)
    const imported = this.#ctr('-n', 'k8s.io', 'images', 'import', join(cache, 'pause.tar'))
    assert.is(imported.status, 0, imported.stderr)
    this.cri = new Cri(join(this.#root, 'sock'))
    for (let tries = 0; !(await this.cri.networkReady()); tries++) {
      if (tries > 100) throw new Error(`the network is not ready: ${this.log()}`)
      await new Promise(done => setTimeout(done, 50))
    }
    return this.cri
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

  run(name: string): Promise<string> {
    return this.cri!.runPodSandbox(name, this.#root)
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

test.run()
