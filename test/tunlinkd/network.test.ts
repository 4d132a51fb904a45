/** Routes between nodes in the kernel, as Nodes change: in a network namespace. Needs root. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { NetlinkSocket } from '../../src/linux/netlink.ts'
import { inNetns } from '../../src/linux/netns.ts'
import { NETLINK_NETFILTER } from '../../src/linux/uapi.ts'
import { Masquerade } from '../../src/node/masquerade.ts'
import { Nodes } from '../../src/node/nodes.ts'
import { Network, podMtu } from '../../src/node/program.ts'
import type { Backend } from '../../src/node/routes.ts'
import { inside, ip, Lab } from '../support.ts'

const test = suite('network of nodes')
const node = (name: string, address: string, ...podCIDRs: string[]) => ({ name, internalIPs: [address], podCIDRs })

test('vxlan: nodes that exchange their pod CIDRs reach each other still', () => {
  using lab = new Lab()
  uplink(lab)
  inNetns(`/run/netns/${lab.node}`, () => {
    using netlink = new NetlinkSocket()
    const [nodes, network] = [new Nodes(), new Network()]
    nodes.replace([node('n1', '192.0.2.11', '10.244.1.0/24', 'fd01:1::/64'), node('n2', '192.0.2.12', '10.244.2.0/24', 'fd01:2::/64')])
    assert.equal(programmed(network, netlink, nodes, 'vxlan').refused, [])
    nodes.replace([node('n1', '192.0.2.11', '10.244.2.0/24', 'fd01:2::/64'), node('n2', '192.0.2.12', '10.244.1.0/24', 'fd01:1::/64')])
    assert.equal(programmed(network, netlink, nodes, 'vxlan').refused, [])
  })
  const [{ addr_info: addresses }] = ip(lab.node, 'address', 'show', 'dev', 'tunlink-vxlan')
  const locals = addresses.map(({ local }: { local: string }) => local).filter((local: string) => !local.startsWith('fe80'))
  assert.equal(locals.sort(), ['10.244.2.0', 'fd01:2::'])
  assert.match(inside(lab.node, 'ip', 'route'), /10\.244\.1\.0\/24 via 10\.244\.1\.0 dev tunlink-vxlan proto 77 onlink/)
})
test('vxlan: a node without an InternalIP is told in words', () => {
  using lab = new Lab()
  inNetns(`/run/netns/${lab.node}`, () => {
    using netlink = new NetlinkSocket()
    const own = { name: 'n1', internalIPs: [], podCIDRs: ['10.244.1.0/24'] }
    assert.throws(() => podMtu(netlink, own, 'vxlan'), /^Node n1 has no InternalIP, which --backend vxlan needs$/)
  })
})
test('masquerading comes back whatever somebody takes out of its table, and is else left alone', () => {
  using lab = new Lab()
  const own = node('n1', '192.0.2.11', '10.244.1.0/24', 'fd01:1::/64')
  const cluster = ['10.244.0.0/16', 'fd01::/48']
  const nft = (command: string) => inside(lab.node, 'nft', ...command.split(' '))
  inNetns(`/run/netns/${lab.node}`, () => {
    using netfilter = new NetlinkSocket(NETLINK_NETFILTER)
    const masquerade = new Masquerade()
    const apply = () => masquerade.apply(netfilter, own, cluster, true)
    assert.equal([apply(), apply()], [true, false])
    const whole = nft('list table inet tunlink-cluster')
    assert.is(whole.match(/masquerade/g)?.length, 2)
    for (const loss of [
      'flush ruleset',
      'flush table inet tunlink-cluster',
      'flush set inet tunlink-cluster inside4',
      'delete table inet tunlink-cluster',
    ]) {
      nft(loss)
      assert.equal([apply(), apply()], [true, false], loss)
      assert.is(nft('list table inet tunlink-cluster'), whole, loss)
    }
    nft('add table inet other')
    assert.is(apply(), false)
  })
})

function uplink(lab: Lab): void {
  inside(lab.node, 'ip', 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'wire')
  inside(lab.node, 'ip', 'link', 'set', 'wire', 'up')
  inside(lab.node, 'ip', 'link', 'set', 'eth0', 'up')
  inside(lab.node, 'ip', 'address', 'add', '192.0.2.11/24', 'dev', 'eth0')
}

/** What comes of a second round: the first one changes, the second finds it so. */
function programmed(network: Network, netlink: NetlinkSocket, nodes: Nodes, backend: Backend) {
  const options = { backend, vxlanId: 4096, vxlanPort: 4789, vxlanTxChecksum: true }
  network.program(netlink, nodes, nodes.get('n1')!, options)
  return network.program(netlink, nodes, nodes.get('n1')!, options)
}

test.run()
