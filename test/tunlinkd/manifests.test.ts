/** The manifests: what is the same twice, and what a container may do. */
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join, matchesGlob } from 'node:path'
import { loadAllYaml } from '@kubernetes/client-node'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { hostIfname } from '../../src/link/plan.ts'
import { help, parseOptions } from '../../src/node/options.ts'
import { VXLAN_DEVICE } from '../../src/node/program.ts'

const test = suite('manifests')
const directory = join(import.meta.dirname, '../../manifests')
const read = (name: string) => readFileSync(join(directory, name), 'utf8')

test('manifests/tunlink.yaml is a file, and manifests/base has the same: cp manifests/tunlink.yaml manifests/base/', () => {
  assert.ok(statSync(join(directory, 'tunlink.yaml')).isFile())
  assert.not(readFileSync(join(directory, 'tunlink.yaml'), 'utf8').startsWith('base/'))
  assert.is(read('base/tunlink.yaml'), read('tunlink.yaml'))
})
test('every variable that a manifest sets is one that tunlinkd reads', () => {
  const overlays = readdirSync(join(directory, 'overlays')).map(name => `overlays/${name}/daemonset.yaml`)
  for (const name of ['tunlink.yaml', ...overlays]) {
    for (const [, variable] of read(name).matchAll(/- name: TUNLINK_(\w+)$/gm)) {
      const flag = `--${variable!.toLowerCase().replaceAll('_', '-')} `
      assert.ok(variable === 'PROC_SYS' || help('1').includes(flag), `${name}: TUNLINK_${variable}`)
    }
  }
})
// biome-ignore lint/suspicious/noExplicitAny: a Kubernetes object
type Manifest = any
const objects = (name: string): Manifest[] =>
  JSON.parse(JSON.stringify(loadAllYaml(read(name)))).filter((object: Manifest) => object !== null)
const daemonSet = (name: string): Manifest => objects(name).find(({ kind }) => kind === 'DaemonSet').spec.template.spec

/** Host path of each mount, and why it is needed. */
const MOUNTS: Record<string, Record<string, string>> = {
  'tunlink.yaml': {
    '/opt/cni/bin': 'the executable is installed',
    '/etc/cni/net.d': 'the conflist is installed',
    '/run/tunlink': 'records, leases, the socket of the agent',
    '/run/netns': 'the namespaces of pods',
    '/dev/net/tun': 'the devices of pods',
    '/proc/sys/net': 'forwarding, settings of devices',
  },
  'uninstall.yaml': {
    '/opt/cni/bin': 'the executable is removed',
    '/etc/cni/net.d': 'the conflist is removed',
    '/run/tunlink': 'records say what is left',
    '/run/netns': 'which namespaces are gone',
  },
}
const CAPABILITIES: Record<string, string[]> = { 'tunlink.yaml': ['NET_ADMIN', 'SYS_ADMIN'], 'uninstall.yaml': ['NET_ADMIN'] }

for (const name of ['tunlink.yaml', 'uninstall.yaml'])
  test(`${name}: no mount and no capability beyond need`, () => {
    const { containers, initContainers = [], volumes, ...spec } = daemonSet(name)
    assert.equal([spec.hostPID, spec.hostIPC], [undefined, undefined])
    const paths = volumes.flatMap(({ hostPath }: Manifest) => hostPath?.path ?? [])
    assert.equal(paths.sort(), Object.keys(MOUNTS[name]!).sort())
    for (const { name: container, securityContext, volumeMounts } of [...containers, ...initContainers]) {
      const { privileged = false, allowPrivilegeEscalation, readOnlyRootFilesystem, capabilities } = securityContext
      assert.equal([privileged, allowPrivilegeEscalation, readOnlyRootFilesystem], [false, false, true], container)
      assert.equal(capabilities, { drop: ['ALL'], add: CAPABILITIES[name] }, container)
      const unknown = volumeMounts.filter((mount: Manifest) => !volumes.some((volume: Manifest) => volume.name === mount.name))
      assert.equal(unknown, [], container)
    }
  })
test('the overlay net-tun turns the device plugin on, with two directories of the node and nothing else', () => {
  const { containers, volumes, ...rest } = daemonSet('overlays/net-tun/daemonset.yaml')
  assert.equal(rest, {})
  const paths = volumes.map(({ name, hostPath }: Manifest) => [name, hostPath.path])
  assert.equal(paths, [
    ['device-plugins', '/var/lib/kubelet/device-plugins'],
    ['dev', '/dev'],
  ])
  const [{ name, env, volumeMounts, ...more }] = containers
  assert.equal([name, more], ['tunlinkd', {}])
  assert.ok(volumeMounts.find((mount: Manifest) => mount.name === 'dev').readOnly)
  const variables = Object.fromEntries(env.map(({ name, value }: Manifest) => [name, value]))
  const { netTunDevices, netTunPath, devicePluginDir } = parseOptions(['--node-name=n1'], variables)
  assert.equal([netTunDevices, netTunPath, devicePluginDir], [1000, '/host/dev/net/tun', '/var/lib/kubelet/device-plugins'])
  assert.not.match(read('tunlink.yaml'), /NET_TUN|device-plugins/)
})
test('RBAC: nodes are read, their status is patched, events are created in "default", no more', () => {
  const rules = (kind: string) =>
    objects('tunlink.yaml')
      .filter(object => object.kind === kind)
      .flatMap(({ rules }) => rules)
  assert.equal(rules('ClusterRole'), [
    { apiGroups: [''], resources: ['nodes'], verbs: ['get', 'list', 'watch'] },
    { apiGroups: [''], resources: ['nodes/status'], verbs: ['patch'] },
  ])
  assert.equal(rules('Role'), [{ apiGroups: [''], resources: ['events'], verbs: ['create'] }])
  assert.is(objects('tunlink.yaml').find(({ kind }) => kind === 'Role').metadata.namespace, 'default')
  assert.is(daemonSet('uninstall.yaml').automountServiceAccountToken, false)
})
for (const [page, example] of [
  ['kubernetes.md', 'net-tun.yaml'],
  ['tutorials/multus.md', 'network-attachment-definition.yaml'],
] as const)
  test(`docs/${page} shows the first object of examples/${example} as it is`, () => {
    const text = readFileSync(join(directory, '../docs', page), 'utf8')
    const shown = [...text.matchAll(/```yaml\n(.*?)```/gs)].map(([, yaml]) => yaml!)
    const [first] = read(`examples/${example}`)
      .replace(/^#.*\n/gm, '')
      .split('---\n')
    assert.ok(shown.includes(first!), first)
  })
test('the files in docs/kubernetes.md that keep network daemons away name our devices and no other', () => {
  const text = readFileSync(join(directory, '../docs/kubernetes.md'), 'utf8')
  const networkd = /00-tunlink\.network\n +\[Match\]\n +Name=(.*)\n +\[Link\]\n +Unmanaged=yes/.exec(text)![1]!.split(' ')
  const networkManager = /\[keyfile\]\n +unmanaged-devices\+=(.*)/
    .exec(text)![1]!
    .split(';')
    .map(match => match.replace('interface-name:', ''))
  const ours = [hostIfname({ network: 'tunlink', containerID: 'c1', ifname: 'eth0' }), VXLAN_DEVICE]
  for (const globs of [networkd, networkManager]) {
    for (const device of ours)
      assert.ok(
        globs.some(glob => matchesGlob(device, glob)),
        `${device} in ${globs}`,
      )
    for (const device of ['eth0', 'tlan0', 'tl0', 'wlan0', 'tunl0', 'cni0'])
      assert.not(
        globs.some(glob => matchesGlob(device, glob)),
        device,
      )
  }
})

test.run()
