/**
 * tunlink as a network of Multus: behind another plugin and behind itself. Multus is not run: the
 * test makes the calls that it makes.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { loadAllYaml } from '@kubernetes/client-node'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { inside, ip, Lab, type Output, pings } from '../support.ts'
import { MultusPod, type Network } from './multus.ts'

const test = suite('multus')
const example = join(import.meta.dirname, '../../manifests/examples/network-attachment-definition.yaml')
const [{ spec }] = loadAllYaml(readFileSync(example, 'utf8')) as [{ spec: { config: string } }]

/** As the example has it, with the lab's data directory. */
const vpn = (lab: Lab, over: object = {}) => ({ ...JSON.parse(spec.config), dataDir: lab.dataDir, ...over })
const ptp = (lab: Lab): Network['conf'] => ({
  cniVersion: '1.0.0',
  name: 'cluster',
  type: 'ptp',
  ipam: {
    type: 'host-local',
    dataDir: `${lab.dataDir}/host-local`,
    ranges: [[{ subnet: '10.99.0.0/24' }]],
    routes: [{ dst: '0.0.0.0/0' }],
  },
})
const own = (lab: Lab): Network['conf'] => ({
  ...lab.conf,
  name: 'pods',
  ipam: { type: 'tunlink', ranges: [[{ subnet: '10.66.0.0/24' }], [{ subnet: 'fd66::/64' }]] },
})

const failures = (outputs: Record<string, Output>) =>
  Object.entries(outputs).flatMap(([ifname, { status, stdout }]) => (status === 0 ? [] : [`${ifname}: ${stdout}`]))
const defaultRoutes = (netns: string) => ip(netns, 'route', 'show', 'default').map(({ dev }: { dev: string }) => dev)

/** Runs `body` with a pod whose networks are these, and expects nothing left after DEL. */
function scenario(name: string, networks: (lab: Lab) => Network[], body: (pod: MultusPod, lab: Lab) => void): void {
  test(name, () => {
    using lab = new Lab()
    const pod = new MultusPod(lab, networks(lab))
    body(pod, lab)
    for (let time = 0; time < 2; time++) assert.equal(failures(pod.del()), [])
    assert.equal([...lab.links(pod.netns), ...lab.links(lab.node), ...lab.files()], [])
  })
}

for (const [primary, conf] of [
  ['ptp', ptp],
  ['tunlink', own],
] as const)
  scenario(
    `behind ${primary}: net1 is the pod's TUN, eth0 and its default route are as they were`,
    lab => [{ conf: conf(lab) }, { conf: vpn(lab) }],
    (pod, lab) => {
      assert.is(pod.add(), undefined)
      const { eth0, net1 } = pod.results
      assert.equal(net1.interfaces, [{ name: 'net1', sandbox: `/run/netns/${pod.netns}` }])
      const [{ address, gateway: peer }] = net1.ips
      assert.equal(net1.ips, [{ interface: 0, address, gateway: peer }])
      assert.match(`${address} ${peer}`, /^198\.51\.100\.\d+\/32 198\.51\.100\.\d+$/)
      assert.is(ip(pod.netns, 'address', 'show', 'dev', 'net1')[0].addr_info[0].address, peer)
      const [link] = ip(pod.netns, '-d', 'link', 'show', 'dev', 'net1')
      assert.equal([link.mtu, link.linkinfo.info_data.type], [1400, 'tun'])
      assert.is(inside(pod.netns, 'cat', '/sys/class/net/net1/owner').trim(), '1000')
      assert.is(ip(pod.netns, 'route', 'show', '203.0.113.0/24')[0].dev, 'net1')
      assert.equal(defaultRoutes(pod.netns), ['eth0'])
      const gateway = eth0.ips[0].gateway
      assert.ok(pings(pod.netns, gateway))
      const listed = inside(lab.node, lab.executable, 'ls', '--data-dir', lab.dataDir)
      assert.match(listed, /default\/vpn-client.*net1/)
      assert.equal(failures(pod.check()), [])
      inside(pod.netns, 'ip', 'address', 'flush', 'dev', 'net1')
      assert.match(failures(pod.check()).join(), /^net1: .*link net1 lacks the address 198\.51\.100\./s)
    },
  )

scenario(
  'GC of the cluster’s network, tunlink, leaves net1 of another network alone',
  lab => [{ conf: { ...own(lab), cniVersion: '1.1.0' } }, { conf: vpn(lab) }],
  pod => {
    assert.is(pod.add(), undefined)
    assert.is(pod.gc().status, 0)
    assert.equal(failures(pod.check()), [])
  },
)

scenario(
  'the annotation’s "ips" become the address, by the capability and by CNI_ARGS',
  lab => [
    { conf: ptp(lab) },
    { conf: vpn(lab), ips: ['198.51.100.6'] },
    {
      conf: vpn(lab, { name: 'other', capabilities: {}, ipam: { type: 'tunlink', subnet: '192.0.2.0/24', routes: [] } }),
      ips: ['192.0.2.9/24'],
    },
  ],
  pod => {
    assert.is(pod.add(), undefined)
    assert.is(pod.results.net1.ips[0].address, '198.51.100.6/32')
    assert.is(pod.results.net2.ips[0].address, '192.0.2.9/32')
    assert.equal(failures(pod.check()), [])
  },
)

scenario(
  'one network twice is two links with addresses of their own',
  lab => {
    const conf = vpn(lab, { ipam: { type: 'tunlink', pair: true, subnet: '198.51.100.0/24', routes: [] } })
    return [{ conf: own(lab) }, { conf }, { conf }]
  },
  pod => {
    assert.is(pod.add(), undefined)
    assert.is.not(pod.results.net1.ips[0].address, pod.results.net2.ips[0].address)
    assert.equal(failures(pod.check()), [])
  },
)

scenario(
  'without "routes" the default route is not taken from eth0: ADD says how to ask for none',
  lab => [{ conf: ptp(lab) }, { conf: vpn(lab, { ipam: { type: 'tunlink', subnet: '198.51.100.0/24' } }) }],
  (pod, lab) => {
    const refused = pod.add()!
    assert.is(refused.json.code, 7, refused.stdout)
    assert.match(refused.json.details, /"routes": \[\] in "ipam" asks for none/)
    assert.equal([...lab.links(pod.netns), ...lab.links(lab.node), ...lab.files()], [])
  },
)

scenario(
  '"default-route" in the annotation moves it to net1, and CHECK of both sees nothing wrong',
  lab => [{ conf: own(lab) }, { conf: vpn(lab), ips: ['198.51.100.6'], defaultRoute: '198.51.100.7' }],
  pod => {
    assert.is(pod.add(), undefined)
    assert.equal(defaultRoutes(pod.netns), ['net1'])
    assert.equal(failures(pod.check()), [])
  },
)

scenario(
  'the device of a resource that the network names is no concern of ours',
  lab => [{ conf: ptp(lab) }, { conf: vpn(lab, { capabilities: { deviceID: true } }), deviceID: 'net-tun-7' }],
  pod => {
    assert.is(pod.add(), undefined)
    assert.equal(failures(pod.check()), [])
  },
)

test.run()
