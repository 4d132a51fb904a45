/**
 * The same cases for tunlink and for the reference plugin `ptp` with `host-local`, of the machine's
 * package containernetworking-plugins. What tunlink does is asserted; what `ptp` does is printed as
 * it was found. `tap` joins where the package has it: Debian's 1.1.1 does not.
 */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { environment, inside, ip, Lab } from '../support.ts'

const test = suite('peers')
const REFERENCE = '/usr/lib/cni'
const SUBNET = '10.66.0.0/24'

interface Plugin {
  name: string
  executable: string | undefined
  conf(lab: Lab): Record<string, unknown>
}

const hostLocal = (lab: Lab) => ({
  type: 'host-local',
  subnet: SUBNET,
  dataDir: join(lab.dataDir, 'host-local'),
  routes: [{ dst: '0.0.0.0/0' }],
})
const PLUGINS: Plugin[] = [
  { name: 'tunlink', executable: undefined, conf: () => ({ cniVersion: '1.0.0', ipMasq: true, agent: { spawn: false } }) },
  ...['ptp', 'tap']
    .filter(type => existsSync(join(REFERENCE, type)))
    .map(type => ({
      name: type,
      executable: join(REFERENCE, type),
      conf: (lab: Lab) => ({ cniVersion: '1.0.0', type, ipMasq: true, ipam: hostLocal(lab) }),
    })),
]

/** What a case has for itself: a node with a pod that was added. */
class Scene {
  readonly lab = new Lab()
  readonly pod = this.lab.netns()
  readonly plugin: Plugin
  constructor(plugin: Plugin) {
    this.plugin = plugin
    if (plugin.executable !== undefined) this.lab.executable = plugin.executable
  }
  call(command: string, env: Record<string, string> = {}, more: object = {}) {
    return this.lab.cni(command, this.pod, { ...this.plugin.conf(this.lab), ...more }, env)
  }
  add() {
    const output = this.call('ADD')
    if (output.status !== 0) throw new Error(`ADD of ${this.plugin.name}: ${output.stdout}${output.stderr}`)
    return output.json
  }
  /** The device of the node that belongs to the pod. */
  get device(): string {
    return this.lab.links(this.lab.node)[0]!
  }
  /** Addresses that are leased. */
  leases(): string[] {
    const directory = join(this.lab.dataDir, this.plugin.executable === undefined ? 'ipam/net' : 'host-local/net')
    return existsSync(directory) ? readdirSync(directory).filter(name => /^\d+\.\d+\.\d+\.\d+$/.test(name)) : []
  }
  [Symbol.dispose](): void {
    this.lab.close()
  }
}

/** A case answers with the words to print; tunlink's must be `right`. */
interface Case {
  what: string
  right: string
  run(scene: Scene): string | Promise<string>
}

/** What CHECK says after `damage` to the pod or the node. */
const checkAfter = (what: string, where: 'pod' | 'node', damage: string): Case => ({
  what: `CHECK after ${what}`,
  right: 'fails',
  run(scene) {
    const prevResult = scene.add()
    const before = scene.call('CHECK', {}, { prevResult })
    if (before.status !== 0) return `fails before any damage: ${before.json.msg}`
    inside(where === 'pod' ? scene.pod : scene.lab.node, 'sh', '-ec', damage.replaceAll('DEV', scene.device))
    return scene.call('CHECK', {}, { prevResult }).status === 0 ? 'succeeds' : 'fails'
  },
})

const CASES: Case[] = [
  {
    what: 'a forged IPv4 source, where rp_filter is 0',
    right: 'is dropped',
    run(scene) {
      scene.add()
      const { lab, pod, device } = scene
      inside(lab.node, 'sysctl', '-qw', 'net.ipv4.conf.all.rp_filter=0', `net.ipv4.conf.${device}.rp_filter=0`)
      inside(lab.node, 'ip', 'route', 'add', 'default', 'dev', 'lo')
      // "came" is before any check, "passed" behind it
      const counts = (chain: string, priority: number) =>
        `add chain ip w ${chain} { type filter hook prerouting priority ${priority}; }; add rule ip w ${chain} ip saddr 198.51.100.7 counter`
      inside(lab.node, 'nft', `add table ip w; ${counts('came', -450)}; ${counts('passed', 0)}`)
      inside(pod, 'ip', 'addr', 'add', '198.51.100.7/32', 'dev', 'lo')
      spawnSync('ip', ['netns', 'exec', pod, 'ping', '-c', '3', '-i', '0.1', '-W', '1', '-I', '198.51.100.7', '192.0.2.9'])
      const none = (chain: string) => / packets 0 /.test(inside(lab.node, 'nft', 'list', 'chain', 'ip', 'w', chain))
      if (none('came')) return 'has not left the pod'
      return none('passed') ? 'is dropped' : 'passes'
    },
  },
  checkAfter('the pod’s default route went', 'pod', 'ip route del default'),
  checkAfter('the pod’s address went', 'pod', 'ip -4 addr flush dev eth0'),
  checkAfter('the node’s end was set down', 'node', 'ip link set DEV down'),
  checkAfter('the node’s route to the pod went', 'node', 'ip route del $(ip -4 route show dev DEV | head -1 | cut -d" " -f1) dev DEV'),
  checkAfter('forwarding was switched off', 'node', 'sysctl -qw net.ipv4.ip_forward=0'),
  checkAfter('masquerading was flushed', 'node', 'nft flush ruleset; iptables-legacy -t nat -F 2>/dev/null || true'),
  {
    what: 'DEL with CNI_NETNS that is no namespace',
    right: 'succeeds',
    run: scene => (scene.call('DEL', { CNI_NETNS: '/etc/passwd' }).status === 0 ? 'succeeds' : 'fails'),
  },
  {
    what: 'ADD into the node’s own namespace',
    right: 'nothing is made',
    run(scene) {
      scene.call('ADD', { CNI_NETNS: `/run/netns/${scene.lab.node}` })
      return scene.lab.links(scene.lab.node).length === 0 && scene.leases().length === 0
        ? 'nothing is made'
        : 'devices are left on the node'
    },
  },
  {
    what: 'a second ADD of the same pod',
    right: 'fails, the link stays',
    run(scene) {
      scene.add()
      const before = ip(scene.pod, 'addr', 'show', 'dev', 'eth0')[0].addr_info[0].local
      const { status } = scene.call('ADD')
      const [now] = ip(scene.pod, 'addr', 'show', 'dev', 'eth0')
      const kept = now?.addr_info[0]?.local === before && scene.leases().length === 1
      return `${status === 0 ? 'succeeds' : 'fails'}, ${kept ? 'the link stays' : 'the link or its lease is gone'}`
    },
  },
  {
    what: 'a directory of leases that everybody may write',
    right: 'is refused',
    run(scene) {
      const [{ lab }, mode] = [scene, '0777']
      mkdirSync(join(lab.dataDir, 'host-local'), { recursive: true })
      for (const path of [lab.dataDir, join(lab.dataDir, 'host-local')]) inside(lab.node, 'chmod', mode, path)
      return scene.call('ADD').status === 0 ? 'is used' : 'is refused'
    },
  },
  {
    what: 'GC of a pod that is gone without DEL (CNI 1.1.0)',
    right: 'collects link and lease',
    run(scene) {
      scene.add()
      const { status, stdout } = scene.call('GC', {}, { cniVersion: '1.1.0', 'cni.dev/valid-attachments': [] })
      if (status !== 0) return /unknown CNI_COMMAND|incompatible/.test(stdout) ? 'knows no GC' : 'fails'
      return scene.lab.links(scene.lab.node).length === 0 && scene.leases().length === 0 ? 'collects link and lease' : 'leaves something'
    },
  },
  {
    what: '20 ADDs killed 5 to 195 ms after their start, each followed by DEL',
    right: 'nothing is left',
    async run(scene) {
      let left = 0
      for (let ms = 5; ms < 200; ms += 10) {
        await killedAdd(scene, ms)
        scene.call('DEL')
        if (scene.lab.links(scene.lab.node).length + scene.lab.links(scene.pod).length + scene.leases().length > 0) left++
        for (const { ifname } of ip(scene.pod, 'link')) if (ifname !== 'lo') spawnSync('ip', ['-n', scene.pod, 'link', 'del', ifname])
        rmSync(join(scene.lab.dataDir, 'host-local'), { recursive: true, force: true })
      }
      return left === 0 ? 'nothing is left' : `something is left ${left} times`
    },
  },
]

async function killedAdd({ lab, pod, plugin }: Scene, ms: number): Promise<void> {
  const env = { PATH: process.env.PATH, ...environment('ADD', pod), CNI_PATH: REFERENCE }
  const child = spawn('nsenter', [`--net=/run/netns/${lab.node}`, lab.executable], { stdio: ['pipe', 'ignore', 'ignore'], env })
  const ended = new Promise(done => child.on('close', done))
  child.stdin.on('error', () => {}) // killed before it has read
  child.stdin.end(JSON.stringify({ ...lab.conf, ...plugin.conf(lab) }))
  await new Promise(done => setTimeout(done, ms))
  child.kill('SIGKILL')
  await ended
}

/** They take a minute: the short form runs some, so that a change of either plugin is seen. */
const chosen = process.env.TUNLINK_LONG === '1' ? CASES : CASES.slice(0, 4)

for (const { what, right, run } of chosen)
  test(what, async () => {
    const found: string[] = []
    for (const plugin of PLUGINS) {
      using scene = new Scene(plugin)
      found.push(`${plugin.name} ${await run(scene)}`)
    }
    console.log(`figure: ${what}: ${found.join('; ')}`)
    assert.is(found[0], `tunlink ${right}`)
  })

test.run()
