/**
 * tunlinkd in a namespace that stands for a node, against an API of its own: what it sets up,
 * heals, and removes. Needs root.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { eventually, inside, ip, pings } from '../support.ts'
import { FakeKubelet } from './fake-kubelet.ts'
import { ended, k8sNode, Node } from './node.ts'

const test = suite('tunlinkd')
const N1 = k8sNode('n1', '192.0.2.11', '10.244.0.0/24')
const N2 = k8sNode('n2', '192.0.2.12', '10.244.1.0/24')
const FAR = k8sNode('n3', '198.51.100.13', '10.244.2.0/24')

let node: Node
test.before(async () => {
  node = new Node()
  await node.startApi()
})
test.after(() => node.close())

/** Runs a test; one that fails shows the log. */
const scenario = (name: string, body: () => Promise<void>) =>
  test(name, async () => {
    try {
      await body()
    } catch (error) {
      console.log(node.log.split('\n').slice(-30).join('\n'))
      throw error
    }
  })

scenario('the executable comes first, the conflist not before a pod CIDR is known', async () => {
  node.nodes(k8sNode('n1', '192.0.2.11'))
  node.start()
  await eventually('an event asks for a pod CIDR', () =>
    node.events().some(event => /^PodCIDRMissing: .*--allocate-node-cidrs/.test(event)),
  )
  assert.ok(existsSync(node.path('bin/tunlink')))
  assert.is(node.conflist(), null)
  assert.match(node.get('/readyz'), /^503 [\s\S]*\[-\]conflist failed/)
  assert.match(node.get('/healthz'), /^200/)
  node.nodes(N1)
  await eventually('the conflist is there', () => node.conflist() !== null)
  assert.equal(node.conflist().plugins[0].ipam.ranges, [[{ subnet: '10.244.0.0/24' }]])
  assert.match(node.get('/readyz'), /^200/)
})
scenario('NetworkUnavailable is cleared, by a strategic merge patch of the own status', async () => {
  await eventually('the condition is set', () => node.heard.some(({ method }) => method === 'PATCH'))
  const { path, type, body } = node.heard.find(({ method }) => method === 'PATCH')!
  assert.is(path, '/api/v1/nodes/n1/status')
  assert.is(type, 'application/strategic-merge-patch+json')
  assert.is(body.status.conditions.find((condition: { type: string }) => condition.type === 'NetworkUnavailable').status, 'False')
})
scenario('a node’s route comes and goes with it; one that is behind a router is refused in an event', async () => {
  node.nodes(N1, N2, FAR)
  await eventually('the route is there', () => node.routes().includes('10.244.1.0/24 192.0.2.12'), 5)
  await eventually('the event is there', () => node.events().some(event => /RouteRefused: n3: .*behind 192\.0\.2\.1.*vxlan/.test(event)))
  assert.not(node.routes().some((route: string) => route.startsWith('10.244.2.0')))
  node.nodes(N1)
  await eventually('the route is gone', () => !node.routes().includes('10.244.1.0/24 192.0.2.12'), 5)
  node.nodes(N1, N2)
  await eventually('the route is back', () => node.routes().includes('10.244.1.0/24 192.0.2.12'), 5)
})
scenario('a removed route and a flushed table are put back; a foreign route stays, even one in the way', async () => {
  inside(node.netns, 'ip', 'route', 'del', '10.244.1.0/24')
  inside(node.netns, 'nft', 'flush', 'ruleset')
  await eventually('both are back', () => node.routes().includes('10.244.1.0/24 192.0.2.12') && node.hasTable(), 8)
  inside(node.netns, 'ip', 'route', 'replace', '10.244.1.0/24', 'via', '192.0.2.77')
  await eventually('an event says so', () =>
    node.events().some(event => /10\.244\.1\.0\/24: there is one already that is not ours/.test(event)),
  )
  assert.ok(node.routes().includes('10.244.1.0/24 192.0.2.77'))
  assert.ok(node.routes().includes('10.250.0.0/24 192.0.2.99'))
  inside(node.netns, 'ip', 'route', 'del', '10.244.1.0/24')
  await eventually('ours is back', () => node.routes().includes('10.244.1.0/24 192.0.2.12'), 8)
})
for (const file of ['bin/tunlink', 'conf/10-tunlink.conflist'])
  scenario(`${file}, removed, is back within 2 s`, async () => {
    rmSync(dirname(node.path(file)), { recursive: true })
    await eventually('it is back', () => existsSync(node.path(file)), 2)
  })
scenario('a configuration that sorts before ours is told, and not touched', async () => {
  writeFileSync(node.path('conf/05-other.conflist'), '{}')
  await eventually('an event says so', () => node.events().some(event => /^ConflistShadowed: 05-other\.conflist/.test(event)))
  assert.is(node.text('conf/05-other.conflist'), '{}')
  rmSync(node.path('conf/05-other.conflist'))
})
scenario('the configuration is watched; of a bad value an event tells, and the last good one stays', async () => {
  node.configure('{"mtu": 1300}')
  await eventually('the MTU is taken up', () => node.conflist()?.plugins[0].mtu === 1300)
  node.configure('{"mtu": "large"}')
  await eventually('an event says so', () => node.events().some(event => /^InvalidConfig: .*"mtu" must be an integer.*"large"/.test(event)))
  assert.is(node.conflist().plugins[0].mtu, 1300)
  assert.match(node.get('/readyz'), /^200/)
  node.configure('{"ipMasq": false}')
  await eventually('MTU and masquerade follow', () => node.conflist().plugins[0].mtu === 1500 && !node.hasTable())
  node.configure('{}')
  await eventually('the table is back', () => node.hasTable())
})
scenario('lastTransitionTime changes with the status alone', async () => {
  const patches = () => node.heard.filter(({ method }) => method === 'PATCH').map(({ body }) => body.status.conditions)
  // biome-ignore lint/suspicious/noExplicitAny: a condition
  const ofRoutes = () => patches().map((conditions: any[]) => conditions.find(({ type }) => type === 'TunlinkRoutesReady'))
  node.nodes(N1, N2, FAR)
  await eventually('the condition is False', () => ofRoutes().at(-1).status === 'False', 15)
  const before = patches().length
  assert.ok('lastTransitionTime' in ofRoutes().at(-1))
  node.nodes(...node.withConditions(N1), N2, FAR, k8sNode('n5', '198.51.100.15', '10.244.5.0/24'))
  await eventually('the message names both nodes', () => /n5: /.test(ofRoutes().at(-1).message), 15)
  assert.is(ofRoutes().at(-1).status, 'False')
  assert.ok(
    patches()
      .slice(before)
      .every(conditions => conditions.every((condition: object) => !('lastTransitionTime' in condition))),
  )
  node.nodes(...node.withConditions(N1), N2)
  await eventually('the condition is True', () => ofRoutes().at(-1).status === 'True', 15)
  assert.ok('lastTransitionTime' in ofRoutes().at(-1))
})
scenario('a heartbeat of a node is no work: no list, no patch, no change of routes', async () => {
  // in which what the test before began comes to an end
  await new Promise(done => setTimeout(done, 1_000))
  const requests = node.heard.length
  const lines = node.log.split('\n').length
  for (let count = 0; count < 20; count++) node.touch('n2')
  await new Promise(done => setTimeout(done, 1_500))
  assert.equal(
    node.heard.slice(requests).filter(({ method, watch }) => method !== 'GET' || !watch),
    [],
  )
  assert.is(node.log.split('\n').length, lines)
})
scenario('versions of CNI are those that every chained plugin speaks; one that says nothing is told', async () => {
  node.script('portmap', `echo '{"cniVersion":"1.0.0","supportedVersions":["0.3.1","0.4.0","1.0.0"]}'`)
  await eventually('portmap is chained', () => node.conflist().plugins.length === 2)
  assert.equal(node.conflist().cniVersions, ['0.3.1', '0.4.0', '1.0.0'])
  node.script('portmap', 'exit 1')
  await eventually('an event says so', () =>
    node
      .events()
      .some(event => /^ChainedPluginFault: the plugin "portmap" .* does not tell its versions .*1\.1\.0 is not offered/.test(event)),
  )
  assert.equal(node.conflist().cniVersions, ['0.3.1', '0.4.0', '1.0.0'])
  node.configure('{"plugins": [{"type": "nobody"}]}')
  await eventually('an event says so', () => node.events().some(event => /^ChainedPluginFault: .*"nobody" .* is not in /.test(event)))
  rmSync(node.path('bin/portmap'))
  node.configure('{}')
  await eventually('ours alone speaks 1.1.0', () => node.conflist().cniVersions.at(-1) === '1.1.0')
})
scenario('a firewall that drops what is forwarded is told, and opened only when asked', async () => {
  inside(node.netns, 'nft', 'add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }')
  await eventually('an event says so', () => node.events().some(event => /^ForwardingDropped: .*ip filter FORWARD is drop/.test(event)), 15)
  const rules = () => inside(node.netns, 'nft', 'list', 'chain', 'ip', 'filter', 'FORWARD').match(/^.*accept.*$/gm) ?? []
  assert.equal(rules(), [])
  await node.stop()
  node.start('--open-forward=true')
  await eventually('rules for our devices are there', () => rules().length === 2, 15)
  assert.match(rules().join('\n'), /iifname "tl\*" ip saddr 10\.244\.0\.0\/24 accept/)
  assert.match(rules().join('\n'), /oifname "tl\*" ip daddr 10\.244\.0\.0\/24 accept/)
  await node.stop()
  node.start()
  await eventually('they are gone', () => rules().length === 0, 15)
  inside(node.netns, 'nft', 'delete', 'table', 'ip', 'filter')
})
let address: string
scenario('tunlinkd starts an agent where none answers, and leaves alone one that does', async () => {
  await eventually('an agent answers', () => node.agent() !== undefined)
  const { pid } = node.agent()!
  assert.is(readlinkSync(`/proc/${pid}/exe`), node.path('bin/tunlink'))
  address = node.cni('ADD').ips[0].address.split('/')[0]
  await eventually('the pod answers', () => pings(node.netns, address))
  assert.is(node.agent()!.pid, pid)
  assert.is(node.agent()!.links, 1)
  assert.match(node.get('/metrics'), /^tunlink_links 1$/m)
})
scenario('the pod’s annotation tunlink.dev/mtu wins over the MTU of the conflist, up to it', async () => {
  const pod = `${node.pod}-mtu`
  execFileSync('ip', ['netns', 'add', pod])
  try {
    assert.is(node.conflist().plugins[0].mtu, 1500)
    const tooLarge = node.tryCni('ADD', 'mtu', pod, { 'tunlink.dev/mtu': '1501' })
    assert.match(JSON.parse(tooLarge.stdout).msg, /annotation "tunlink\.dev\/mtu" must be at most the network's "mtu" 1500, not "1501"/)
    const { status, stdout } = node.tryCni('ADD', 'mtu', pod, { 'tunlink.dev/mtu': '1400', other: 'x' })
    assert.is(status, 0, stdout)
    assert.is(ip(pod, 'link', 'show', 'dev', 'eth0')[0].mtu, 1400)
    assert.is(node.tryCni('DEL', 'mtu', pod).status, 0)
  } finally {
    execFileSync('ip', ['netns', 'del', pod])
  }
})
scenario('packets pass while tunlinkd is killed and there is none, and the next leaves the agent alone', async () => {
  const { pid } = node.agent()!
  await node.whilePinging(address, async () => {
    await node.stop('SIGKILL')
    await new Promise(done => setTimeout(done, 1_000))
    node.start()
    await eventually('tunlinkd is ready', () => ready(), 15)
  })
  assert.is(node.agent()!.pid, pid)
})
scenario('an agent whose executable was replaced renews itself, and not a packet is lost', async () => {
  await node.whilePinging(address, async () => {
    rmSync(node.path('bin/tunlink')) // tunlinkd installs another
    await eventually('it is asked to', () => node.log.includes('agent renews itself'), 15)
    await eventually('the agent runs from the new file', () => {
      const agent = node.agent()
      return agent !== undefined && readlinkSync(`/proc/${agent.pid}/exe`) === node.path('bin/tunlink')
    })
  })
})
scenario('an agent that hangs is ended, and another serves', async () => {
  const { pid } = node.agent()!
  process.kill(pid, 'SIGSTOP')
  await eventually('it has ended', () => !existsSync(`/proc/${pid}`), 60)
  await eventually('another answers', () => ![undefined, pid].includes(node.agent()?.pid), 15)
  await eventually('the pod answers', () => pings(node.netns, address))
})
scenario('a pod has its network while the API is away and agent and tunlinkd are killed; then all is taken up again', async () => {
  node.stopApi()
  const { pid } = node.agent()!
  process.kill(pid, 'SIGKILL')
  await eventually('another agent serves', () => ![undefined, pid].includes(node.agent()?.pid))
  await eventually('the pod answers', () => pings(node.netns, address))
  await eventually('the start is counted', () => /^tunlink_agent_starts_total [1-9]/m.test(node.get('/metrics')))
  await node.stop('SIGKILL')
  node.start()
  await eventually('tunlinkd is ready without the API', () => ready(), 15)
  await eventually('the pod answers again', () => pings(node.netns, address))
  assert.ok(node.routes().includes('10.244.1.0/24 192.0.2.12'), 'routes stay')
  await node.startApi()
  node.nodes(N1, N2, k8sNode('n4', '192.0.2.14', '10.244.4.0/24'))
  await eventually('what came meanwhile is known', () => node.routes().includes('10.244.4.0/24 192.0.2.14'), 60)
})
scenario('an API that is away is not asked in a storm', async () => {
  const tries = () => node.log.split('\n').filter(line => line.includes('Kubernetes API lost')).length
  assert.ok(tries() > 0)
  assert.ok(tries() < 12, `${tries()} tries`)
})
scenario('pods that are refused because the pod CIDR is used up are told in an event', async () => {
  node.nodes(k8sNode('n1', '192.0.2.11', '10.244.0.0/30'), N2)
  await eventually('the conflist has the small pool', () => node.conflist().plugins[0].ipam.ranges[0][0].subnet === '10.244.0.0/30')
  const second = `${node.pod}-2`
  execFileSync('ip', ['netns', 'add', second])
  for (const id of ['second', 'third']) node.tryCni('ADD', id, second)
  await eventually('an event says so', () => node.events().some(event => /^PodCIDRExhausted: .*all \d+ IPv4 addresses/.test(event)), 25)
  for (const id of ['second', 'third']) node.tryCni('DEL', id, second)
  execFileSync('ip', ['netns', 'del', second])
  node.nodes(N1, N2)
  await eventually('the pool is the larger one', () => node.conflist().plugins[0].ipam.ranges[0][0].subnet === '10.244.0.0/24')
})
scenario('SIGTERM ends tunlinkd with status 0, and removes nothing', async () => {
  assert.is(await node.stop(), 0)
  assert.ok(node.conflist() !== null && existsSync(node.path('bin/tunlink')) && node.hasTable())
  assert.ok(node.routes().includes('10.244.1.0/24 192.0.2.12'))
})
scenario('a pod whose DEL never came is collected: link, record, lease', async () => {
  execFileSync('ip', ['netns', 'del', node.pod])
  node.start()
  await eventually('nothing is left', () => left().length === 0, 20)
  await node.stop()
})
scenario('vxlan: device, addresses, route, neighbour and forwarding entry; another backend removes them', async () => {
  node.nodes(N1, N2, FAR)
  node.start('--backend=vxlan')
  await eventually('the route is there', () => node.routes().includes('10.244.2.0/24 10.244.2.0'))
  await eventually('the conflist has the MTU', () => node.conflist().plugins[0].mtu === 1450)
  const [device] = JSON.parse(inside(node.netns, 'ip', '-j', '-d', 'link', 'show', 'tunlink-vxlan'))
  assert.is(device.mtu, 1450)
  assert.is(device.address, '02:74:c0:00:02:0b')
  const { id, local, port, learning } = device.linkinfo.info_data
  assert.equal({ id, local, port, learning }, { id: 4096, local: '192.0.2.11', port: 4789, learning: false })
  assert.match(inside(node.netns, 'ip', 'neighbour', 'show', 'dev', 'tunlink-vxlan'), /10\.244\.2\.0 lladdr 02:74:c6:33:64:0d PERMANENT/)
  assert.match(inside(node.netns, 'bridge', 'fdb', 'show', 'dev', 'tunlink-vxlan'), /02:74:c6:33:64:0d dst 198\.51\.100\.13/)
  assert.match(inside(node.netns, 'ip', '-4', 'address', 'show', 'dev', 'tunlink-vxlan'), /inet 10\.244\.0\.0\/32/)
  inside(node.netns, 'ip', 'link', 'del', 'tunlink-vxlan')
  await eventually('it is back', () => node.routes().includes('10.244.2.0/24 10.244.2.0'), 8)
  node.nodes(N1)
  await eventually('entries go with their node', () => inside(node.netns, 'bridge', 'fdb', 'show', 'dev', 'tunlink-vxlan').trim() === '')
  await node.stop()
  node.start('--backend=none')
  await eventually('the device is gone', () => !ip(node.netns, 'link').some(({ ifname }: { ifname: string }) => ifname === 'tunlink-vxlan'))
  await node.stop()
})
scenario('the device plugin, where it is on, registers with the kubelet, again when that restarts, and ends with tunlinkd', async () => {
  const kubelet = new FakeKubelet()
  try {
    node.nodes(N1)
    node.start('--net-tun-devices=2', `--device-plugin-dir=${kubelet.directory}`, '--net-tun-path=/dev/null')
    await eventually('an event says that there is no kubelet', () =>
      node.events().some(event => /^DevicePluginFailed: No kubelet listens at .*kubelet\.sock/.test(event)),
    )
    await eventually('the node is ready all the same', () => ready(), 15)
    assert.match(node.get('/metrics'), /^tunlink_part_failing\{part="devicePlugin"\} 1$/m)
    await kubelet.start()
    await eventually('the kubelet has its devices', () => [...(kubelet.devices?.values() ?? [])].join() === 'Healthy,Healthy')
    assert.equal(await kubelet.allocate(['net-tun-1']), [[{ containerPath: '/dev/net/tun', hostPath: '/dev/net/tun', permissions: 'rw' }]])
    await eventually('no part fails', () => !node.get('/metrics').includes('tunlink_part_failing'), 15)
    kubelet.stop()
    await kubelet.start()
    await eventually('the kubelet has its devices again', () => kubelet.devices?.size === 2)
    const { length } = kubelet.registrations
    await new Promise(done => setTimeout(done, 2_500))
    assert.is(kubelet.registrations.length, length, 'once is enough')
    assert.is(await node.stop(), 0)
    assert.equal(readdirSync(kubelet.directory), ['kubelet.sock'])
  } finally {
    kubelet.close()
  }
})
scenario('a part whose end fails keeps tunlinkd from no other: it ends with status 0', async () => {
  const kubelet = new FakeKubelet()
  try {
    await kubelet.start()
    node.start('--net-tun-devices=2', `--device-plugin-dir=${kubelet.directory}`, '--net-tun-path=/dev/null')
    await eventually('the kubelet has its devices', () => kubelet.devices?.size === 2)
    const socket = join(kubelet.directory, 'tunlink.dev-net-tun.sock')
    rmSync(socket)
    mkdirSync(socket) // which the device plugin does not remove
    assert.is(await node.stop(), 0)
    assert.match(node.log, /"message":"not ended in order","what":"devicePlugin"/)
  } finally {
    kubelet.close()
  }
})
/** The capabilities that manifests/uninstall.yaml gives, and no other. */
const UNINSTALLER = ['setpriv', '--bounding-set=-all,+net_admin', '--inh-caps=-all,+net_admin']
scenario('uninstall removes what is ours with CAP_NET_ADMIN alone: files, routes, device, tables, state', async () => {
  execFileSync('ip', ['netns', 'add', node.pod])
  node.start()
  await eventually('the conflist is there', () => node.conflist() !== null)
  await eventually('an agent answers', () => node.agent() !== undefined)
  node.cni('ADD')
  await node.stop()
  execFileSync('ip', ['netns', 'del', node.pod])
  const { pid } = node.agent()!
  assert.is(await ended(node.run(['uninstall'], { before: UNINSTALLER })), 0)
  await eventually('the agent has ended', () => !existsSync(`/proc/${pid}`))
  assert.equal([...readdirSync(node.path('conf')), ...readdirSync(node.path('bin'))], [])
  assert.not(existsSync(node.path('data')))
  assert.is(inside(node.netns, 'nft', 'list', 'ruleset').trim(), '')
  assert.is(inside(node.netns, 'ip', 'route', 'show', 'proto', '77').trim(), '')
  assert.ok(node.routes().includes('10.250.0.0/24 192.0.2.99'))
})
scenario('uninstall leaves a link in use its executable, and fails', async () => {
  node.nodes(N1)
  node.start()
  await eventually('the conflist is there', () => node.conflist() !== null)
  execFileSync('ip', ['netns', 'add', node.pod])
  node.cni('ADD')
  await node.stop()
  mkdirSync(node.path('conf'), { recursive: true })
  assert.is(await ended(node.run(['uninstall'])), 1)
  assert.is(node.conflist(), null)
  assert.ok(existsSync(node.path('bin/tunlink')))
  assert.is.not(left().length, 0)
})
scenario('uninstall leaves the addresses of other plugins’ pods, and the executable for their DEL', async () => {
  const ipam = (command: string) => {
    const pool = { type: 'tunlink', subnet: '10.251.0.0/24', dataDir: node.path('data') }
    const env = { CNI_COMMAND: command, CNI_CONTAINERID: 'other', CNI_NETNS: '/proc/1/ns/net', CNI_IFNAME: 'eth0', CNI_PATH: '/nowhere' }
    const input = JSON.stringify({ cniVersion: '1.0.0', name: 'bridged', type: 'bridge', ipam: pool })
    return spawnSync(node.path('bin/tunlink'), { input, encoding: 'utf8', env })
  }
  execFileSync('ip', ['netns', 'del', node.pod])
  const added = ipam('ADD')
  assert.is(added.status, 0, added.stdout)
  assert.is(await ended(node.run(['uninstall'])), 1)
  assert.ok(existsSync(node.path('bin/tunlink')))
  assert.is(ipam('DEL').status, 0)
  assert.is(await ended(node.run(['uninstall'])), 0)
  assert.not(existsSync(node.path('data')))
})

/** /readyz is 200. */
const ready = () => /^200/.test(node.tryGet('/readyz'))

/** Links and files of pods. */
function left(): string[] {
  const links = ip(node.netns, 'link').map(({ ifname }: { ifname: string }) => ifname)
  const files = ['links', 'ipam'].flatMap(part =>
    existsSync(node.path(`data/${part}`)) ? readdirSync(node.path(`data/${part}`), { recursive: true, withFileTypes: true }) : [],
  )
  return [...links.filter((name: string) => /^tl/.test(name)), ...files.filter(entry => entry.isFile()).map(({ name }) => name)]
}

test.run()
