/**
 * A VPN in a pod without privilege: real programs as user 1000, without capabilities and with
 * no-new-privs, attach to the ready-made TUN of their pod by its name, and carry an encrypted
 * tunnel over the pods' primary links. The pods are namespaces, and containers of containerd.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { Chain } from '../chain.ts'
import { output, start } from '../processes.ts'
import { eventually, inside, Lab } from '../support.ts'
import { Containerd, runtimeName } from './containerd.ts'
import { MTU, PROGRAMS, type Site } from './vpn-programs.ts'

const image = execFileSync(resolve(import.meta.dirname, 'vpn-image'), { encoding: 'utf8' }).trim()
const USER = 1000
/** No pod has an owner for the TUN unless its annotation says so. */
const PRIMARY = { type: 'tunlink', ipam: { type: 'tunlink', subnet: '10.66.0.0/24' } }
const TUN = {
  type: 'tunlink',
  ifName: 'tun0',
  farEnd: 'attach',
  annotations: ['mtu', 'owner', 'addresses', 'peer'],
  capabilities: { 'io.kubernetes.cri.pod-annotations': true },
  ipam: { type: 'tunlink', subnet: '10.99.0.0/24' },
}
const annotations = (local: string, peer: string) => ({
  'tunlink.dev/tun0.mtu': String(MTU),
  'tunlink.dev/tun0.owner': String(USER),
  'tunlink.dev/tun0.addresses': local,
  'tunlink.dev/tun0.peer': peer,
})
const TUNNEL = ['10.99.0.10', '10.99.0.20'] as const

/** A pod, and how a command is run in it. */
interface Pod {
  netns: string
  /** On the primary link. */
  address: string
  run(directory: string, command: string[]): Promise<void>
}

interface Runtime {
  lab: Lab
  addPod(name: string, annotations: Record<string, string>): Promise<Pod>
  removePods(): Promise<void>
  close(): Promise<void>
}

/** Writes down what the program may do, then becomes it. */
const noted = (directory: string, command: string[]) => [
  ...['/bin/sh', '-c', 'cd "$0" && grep -E "^(Uid|Cap|NoNewPrivs)" /proc/self/status >status && exec "$@" >log 2>&1', directory],
  ...command,
]

/** Namespaces, each with a /dev/net/tun that is for everybody, as udev makes it. */
class Bare implements Runtime {
  readonly lab = new Lab()
  readonly #chain = new Chain(this.lab, [PRIMARY, TUN])
  readonly #pods: string[] = []
  readonly #processes: ChildProcess[] = []

  async addPod(_name: string, annotations: Record<string, string>): Promise<Pod> {
    const netns = this.lab.netns()
    const { json, stdout } = this.#chain.add(netns, { 'io.kubernetes.cri.pod-annotations': annotations })
    assert.ok(json.ips, stdout)
    this.#pods.push(netns)
    const run = async (directory: string, command: string[]) => {
      const device = 'mount -t tmpfs tmpfs /dev/net && mknod -m 666 /dev/net/tun c 10 200 && exec "$@"'
      const user = [`--reuid=${USER}`, `--regid=${USER}`, '--clear-groups', '--no-new-privs', '--bounding-set=-all', '--inh-caps=-all']
      const words = ['netns', 'exec', netns, 'sh', '-c', device, 'sh', 'setpriv', ...user, ...noted(directory, command)]
      this.#processes.push(spawn('ip', words, { stdio: 'ignore' }))
    }
    return { netns, address: json.ips[0].address.split('/')[0], run }
  }

  /** While the programs are attached. */
  async removePods(): Promise<void> {
    for (const pod of this.#pods) assert.equal(this.#chain.del(pod), [undefined, undefined])
    for (const pod of this.#pods) assert.equal(this.lab.links(pod), [])
  }

  async close(): Promise<void> {
    for (const child of this.#processes) child.kill('SIGKILL')
    this.lab.close()
  }
}

/** Containers, which get /dev/net/tun as a device of their own. */
class InContainers implements Runtime {
  readonly #containerd = new Containerd()
  readonly lab = this.#containerd.lab
  readonly #pods: string[] = []

  static async start(): Promise<InContainers> {
    const runtime = new InContainers()
    runtime.#containerd.configure({}, { dataDir: runtime.lab.dataDir, ...TUN })
    await runtime.#containerd.start()
    runtime.#containerd.importImage(image)
    return runtime
  }

  async addPod(name: string, annotations: Record<string, string>): Promise<Pod> {
    const cri = this.#containerd.cri!
    const id = await this.#containerd.run(name, { annotations })
    this.#pods.push(id)
    const { netns, ips } = await cri.podSandboxStatus(id)
    const run = async (directory: string, command: string[]) => {
      const container = {
        image: 'localhost/vpn:1',
        command: noted(directory, command),
        devices: ['/dev/net/tun'],
        directories: [directory],
      }
      await cri.startContainer(id, name, { ...container, user: USER })
    }
    return { netns: basename(netns), address: ips[0]!, run }
  }

  async removePods(): Promise<void> {
    for (const id of this.#pods) await this.#containerd.remove(id)
  }

  close(): Promise<void> {
    return this.#containerd.close()
  }
}

/** Bits per second of TCP from one namespace to an address of the other, measured by iperf3. */
async function throughput(from: string, to: string, address: string): Promise<number> {
  const server = output(start(to, 'timeout', '20', 'iperf3', '-s', '-1', '-B', address, '--forceflush'))
  await eventually('iperf3 listens', () => server.text().includes('Server listening'))
  const { end } = JSON.parse(inside(from, 'timeout', '20', 'iperf3', '-c', address, '-t', '2', '-J'))
  await server.ended
  return end.sum_received.bits_per_second
}

const PATTERN = '74756e6c696e6b2d76706e2d74657374' // "tunlink-vpn-test"

/** What passes the node's end of a pod's primary link while it pings `address` with PATTERN. */
async function captured(lab: Lab, pod: Pod, address: string): Promise<Buffer> {
  const capture = start(lab.node, lab.executable, 'capture', '--data-dir', lab.dataDir, '--count', '4', '--seconds', '20', pod.address)
  const chunks: Buffer[] = []
  capture.stdout!.on('data', chunk => chunks.push(chunk))
  const ended = new Promise(done => capture.on('close', done))
  await eventually('the capture has begun', () => chunks.length > 0)
  inside(pod.netns, 'ping', '-c', '4', '-i', '0.2', '-W', '2', '-p', PATTERN, address)
  await ended
  return Buffer.concat(chunks)
}

async function run(runtime: Runtime, title: string, name: string): Promise<void> {
  const root = mkdtempSync('/tmp/tlv-')
  try {
    chmodSync(root, 0o755)
    const pods = [
      await runtime.addPod('one', annotations(...TUNNEL)),
      await runtime.addPod('two', annotations(TUNNEL[1], TUNNEL[0])),
    ] as const
    const site = (pod: Pod, at: number): Site => ({ directory: join(root, String(at)), address: pod.address })
    const sites: [Site, Site] = [site(pods[0], 0), site(pods[1], 1)]
    for (const { directory } of sites) mkdirSync(directory)
    const program = PROGRAMS[name]!
    program.prepare(sites)
    execFileSync('chown', ['-R', `${USER}:${USER}`, root])
    const log = (at: number) => spawnSync('cat', [join(sites[at]!.directory, 'log')], { encoding: 'utf8' }).stdout
    await pods[0].run(sites[0].directory, program.command(sites[0], sites[1]))
    await pods[1].run(sites[1].directory, program.command(sites[1], sites[0]))
    const isUp = () => spawnSync('ip', ['netns', 'exec', pods[0].netns, 'ping', '-c', '1', '-W', '1', TUNNEL[1]]).status === 0
    // fastd, whose first packet comes before the other one listens, tries again after 20 s
    await eventually('the tunnel is up', isUp, 60).catch(error => assert.unreachable(`${error.message}\n${log(0)}\n${log(1)}`))
    for (const at of [0, 1]) {
      await eventually('both have agreed on keys', () => program.isEncrypted.test(log(at)), 10).catch(error =>
        assert.unreachable(`${error.message}\n${log(at)}`),
      )
      assert.equal(readFileSync(join(sites[at]!.directory, 'status'), 'utf8').match(/[0-9a-f]+$/gm), [
        '1000',
        ...Array(5).fill('0'.repeat(16)),
        '1',
      ])
    }
    const plain = Buffer.from(PATTERN, 'hex')
    assert.ok((await captured(runtime.lab, pods[0], pods[1].address)).includes(plain), 'what is not in the tunnel is seen')
    assert.not.ok((await captured(runtime.lab, pods[0], TUNNEL[1])).includes(plain), 'what is in the tunnel is not')
    const rate = await throughput(pods[0].netns, pods[1].netns, TUNNEL[1])
    assert.ok(rate > 0)
    console.log(`measured: ${name}, ${title}: ${Math.round(rate / 1e6)} Mbit/s through the tunnel`)
    await runtime.removePods()
    assert.equal([...runtime.lab.links(runtime.lab.node), ...runtime.lab.files()], [])
  } finally {
    await runtime.close()
    rmSync(root, { recursive: true, force: true })
  }
}

const test = suite('vpn')
for (const name of Object.keys(PROGRAMS)) {
  test(`${name} between two namespaces`, () => run(new Bare(), 'namespaces', name))
  test(`${name} between two containers of ${runtimeName}`, async () => run(await InContainers.start(), runtimeName, name))
}
test.run()
