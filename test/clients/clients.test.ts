/**
 * Real clients of the plugin: cnitool (libcni) and podman with its CNI backend, IPv4 and
 * dual-stack, on a node of their own.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { ip, Lab, pings } from '../support.ts'

const cache = execFileSync(resolve(import.meta.dirname, 'setup'), { encoding: 'utf8' }).trim()
const dist = resolve(import.meta.dirname, '../../dist')
const test = suite('clients')

const FAMILIES: [string, { subnet: string }[][]][] = [
  ['IPv4', [[{ subnet: '10.66.0.0/24' }]]],
  ['dual-stack', [[{ subnet: '10.66.0.0/24' }], [{ subnet: 'fd66::/64' }]]],
]

/** A node with a conflist for network `name`. */
function node(name: string, ranges: object, zeroMac = false) {
  const lab = new Lab()
  const confDir = join(lab.dataDir, 'net.d')
  mkdirSync(confDir)
  const plugin = { type: 'tunlink', dataDir: lab.dataDir, zeroMac, agent: { idleSeconds: 1 }, ipam: { type: 'tunlink', ranges } }
  writeFileSync(join(confDir, '10-test.conflist'), JSON.stringify({ cniVersion: '1.0.0', name, plugins: [plugin] }))
  return { lab, confDir }
}

/**
 * In the node's network namespace alone: clients bind their own namespaces where everybody sees
 * them.
 */
const onNode = (lab: Lab, env: Record<string, string>, ...command: string[]) =>
  spawnSync('nsenter', [`--net=/run/netns/${lab.node}`, ...command], { encoding: 'utf8', env: { PATH: process.env.PATH, ...env } })

const IMAGE = 'localhost/busybox:1'
const CDI = resolve(import.meta.dirname, '../../manifests/examples/cdi')
/** In a mount namespace of its own, with `$1` for the directory of CDI files: runs the rest. */
const WITH_CDI = 'mkdir -p /run/cdi && mount --bind "$1" /run/cdi && shift && exec "$@"'

/** podman with a store of its own, which holds IMAGE, and networks from `confDir`. */
class Podman {
  readonly #lab: Lab
  readonly #store = `/tmp/tlp-${process.pid}` // short: unix sockets lie below it
  readonly #hadCdi = existsSync('/run/cdi')

  constructor(lab: Lab, confDir: string) {
    this.#lab = lab
    const store = this.#store
    mkdirSync(store, { recursive: true })
    writeFileSync(
      join(store, 'containers.conf'),
      `[containers]\napparmor_profile = ""\ndefault_ulimits = []\n[network]\nnetwork_backend = "cni"\ncni_plugin_dirs = ["${dist}", "/usr/lib/cni"]\nnetwork_config_dir = "${confDir}"\n[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\nruntime = "runc"\nlock_type = "file"\ntmp_dir = "${store}/tmp"\nvolume_path = "${store}/volumes"\n`,
    )
    writeFileSync(join(store, 'storage.conf'), `[storage]\ndriver = "vfs"\ngraphroot = "${store}/root"\nrunroot = "${store}/run"\n`)
    this.must('import', join(cache, 'image.tar'), IMAGE)
  }

  run(...command: string[]) {
    const env = { CONTAINERS_CONF: join(this.#store, 'containers.conf'), CONTAINERS_STORAGE_CONF: join(this.#store, 'storage.conf') }
    const usesCdi = command.includes('--device')
    const before = usesCdi ? ['unshare', '-m', 'sh', '-c', WITH_CDI, 'sh', CDI] : []
    return onNode(this.#lab, env, ...before, 'podman', ...command)
  }

  /** Standard output; throws when it fails. */
  must(...command: string[]): string {
    const { status, stdout, stderr } = this.run(...command)
    assert.is(status, 0, `podman ${command.join(' ')}: ${stdout}${stderr}`)
    return stdout.trim()
  }

  close(): void {
    this.run('rm', '-fa', '-t', '0')
    const vfs = join(this.#store, 'root', 'vfs')
    if (existsSync(vfs)) spawnSync('umount', [vfs])
    rmSync(this.#store, { recursive: true, force: true })
    if (!this.#hadCdi && existsSync('/run/cdi')) rmdirSync('/run/cdi')
  }
}

for (const [families, ranges] of FAMILIES) {
  test(`cnitool: add, check, del, ${families}`, () => {
    const name = `tunlink-test-${process.pid}`
    const { lab, confDir } = node(name, ranges)
    try {
      const pod = lab.netns()
      const cnitool = (verb: string) =>
        onNode(lab, { CNI_PATH: `${dist}:/usr/lib/cni`, NETCONFPATH: confDir }, join(cache, 'cnitool'), verb, name, `/run/netns/${pod}`)
      const added = cnitool('add')
      assert.is(added.status, 0, added.stderr)
      assert.is(JSON.parse(added.stdout).ips.length, ranges.length)
      assert.ok(pings(pod, '10.66.0.1'))
      if (ranges.length > 1) assert.ok(pings(pod, 'fd66::1'))
      assert.is(cnitool('check').status, 0)
      execFileSync('ip', ['-n', pod, 'address', 'flush', 'dev', 'eth0'])
      const checked = cnitool('check')
      assert.not.equal(checked.status, 0)
      assert.match(checked.stderr, /CHECK failed: link eth0 lacks the address/)
      assert.is(cnitool('del').status, 0)
      assert.is(cnitool('del').status, 0)
      assert.equal([...lab.links(pod), ...lab.links(lab.node), ...lab.files()], [])
    } finally {
      lab.close()
    }
  })

  test(`podman: run, reach, remove, ${families}`, () => {
    const name = `tunlink-test-${process.pid}`
    const { lab, confDir } = node(name, ranges, true)
    const podman = new Podman(lab, confDir)
    try {
      const run = ['run', '--network', name, '--name', 'c']
      podman.must(...run, '--rm', IMAGE, 'ping', '-c', '1', '-W', '2', '10.66.0.1')
      podman.must(...run, '-d', '--cap-add', 'NET_RAW', IMAGE, 'sleep', '100')
      const netns = podman.must('inspect', '--format', '{{.NetworkSettings.SandboxKey}}', 'c').replace(/.*\//, '')
      const addresses = ip(netns, 'addr', 'show', 'dev', 'eth0')[0].addr_info.map(({ local }: { local: string }) => local)
      assert.is(addresses.length, ranges.length)
      for (const address of addresses) assert.ok(pings(lab.node, address), `${address} answers the node`)
      podman.must('rm', '-f', '-t', '0', 'c')
      assert.equal([...lab.links(lab.node), ...lab.files()], [])
    } finally {
      podman.close()
      lab.close()
    }
  })
}

test('podman: user 1000 without capabilities opens /dev/net/tun as a CDI device, and not without', () => {
  using lab = new Lab()
  const podman = new Podman(lab, lab.dataDir)
  try {
    const open = (...device: string[]) => {
      const run = ['run', '--rm', '--network', 'none', '--user', '1000', '--cap-drop', 'all', ...device]
      return podman.run(...run, IMAGE, '/bin/sh', '-c', 'exec 3<>/dev/net/tun')
    }
    const given = open('--device', 'tunlink.dev/net=tun')
    assert.is(given.status, 0, given.stderr)
    assert.match(open().stderr, /can't create \/dev\/net\/tun/)
  } finally {
    podman.close()
  }
})

test.run()
