/**
 * Real clients of the plugin: cnitool (libcni) and podman with its CNI backend, IPv4 and
 * dual-stack, on a node of their own.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
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
    const store = join('/tmp', `tlp-${process.pid}`) // short: unix sockets lie below it
    mkdirSync(store, { recursive: true })
    writeFileSync(
      join(store, 'containers.conf'),
      `[containers]\napparmor_profile = ""\ndefault_ulimits = []\n[network]\nnetwork_backend = "cni"\ncni_plugin_dirs = ["${dist}", "/usr/lib/cni"]\nnetwork_config_dir = "${confDir}"\n[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\nruntime = "runc"\nlock_type = "file"\ntmp_dir = "${store}/tmp"\nvolume_path = "${store}/volumes"\n`,
    )
    writeFileSync(join(store, 'storage.conf'), `[storage]\ndriver = "vfs"\ngraphroot = "${store}/root"\nrunroot = "${store}/run"\n`)
    const podman = (...command: string[]) => {
      const { status, stdout, stderr } = onNode(
        lab,
        { CONTAINERS_CONF: join(store, 'containers.conf'), CONTAINERS_STORAGE_CONF: join(store, 'storage.conf') },
        'podman',
        ...command,
      )
      assert.is(status, 0, `podman ${command.join(' ')}: ${stdout}${stderr}`)
      return stdout.trim()
    }
    try {
      podman('import', join(cache, 'image.tar'), 'localhost/busybox:1')
      const run = ['run', '--network', name, '--name', 'c']
      podman(...run, '--rm', 'localhost/busybox:1', 'ping', '-c', '1', '-W', '2', '10.66.0.1')
      podman(...run, '-d', '--cap-add', 'NET_RAW', 'localhost/busybox:1', 'sleep', '100')
      const netns = podman('inspect', '--format', '{{.NetworkSettings.SandboxKey}}', 'c').replace(/.*\//, '')
      const addresses = ip(netns, 'addr', 'show', 'dev', 'eth0')[0].addr_info.map(({ local }: { local: string }) => local)
      assert.is(addresses.length, ranges.length)
      for (const address of addresses) assert.ok(pings(lab.node, address), `${address} answers the node`)
      podman('rm', '-f', '-t', '0', 'c')
      assert.equal([...lab.links(lab.node), ...lab.files()], [])
    } finally {
      onNode(
        lab,
        { CONTAINERS_CONF: join(store, 'containers.conf'), CONTAINERS_STORAGE_CONF: join(store, 'storage.conf') },
        'podman',
        'rm',
        '-fa',
        '-t',
        '0',
      )
      if (existsSync(join(store, 'root', 'vfs'))) spawnSync('umount', [join(store, 'root', 'vfs')])
      rmSync(store, { recursive: true, force: true })
      lab.close()
    }
  })
}

test.run()
