/** The tutorial of a VPN in a pod: its commands run, and what it says of Kubernetes works. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { loadYaml } from '@kubernetes/client-node'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { parseConfig } from '../../src/node/config.ts'
import { conflist } from '../../src/node/conflist.ts'
import { Chain } from '../chain.ts'
import { inside, ip, Lab } from '../support.ts'
import { runTutorial } from './tutorial.ts'

const ROOT = resolve(import.meta.dirname, '../..')
const PAGE = 'docs/tutorials/vpn-pod.md'
const test = suite('vpn-pod')

/** It has no network to install from, and /dev/net/tun is for everybody, as udev makes it. */
const PRELUDE = `apt-get() { :; }
mount -t tmpfs tmpfs /dev/net
mknod -m 666 /dev/net/tun c 10 200`

test('its commands run, and print what it says', () => {
  // installs the programs
  execFileSync(resolve(ROOT, 'test/clients/vpn-image'), { stdio: 'ignore' })
  for (const { output } of runTutorial(PAGE, {}, PRELUDE)) {
    const [, rate] = /([\d.]+ [MG]bits\/sec) +receiver/.exec(output) ?? []
    if (rate !== undefined) console.log(`measured: openvpn as in ${PAGE}: ${rate}`)
  }
})

test('its ConfigMap gives its pod a TUN for the user that the annotation names', () => {
  const [config, pod] = [...readFileSync(resolve(ROOT, PAGE), 'utf8').matchAll(/```yaml\n(.*?)```/gs)].map(([, text]) => loadYaml(text!))
  using lab = new Lab()
  const text = conflist({
    config: parseConfig((config as { data: Record<string, string> }).data['config.json']!),
    podCIDRs: ['10.66.0.0/24'],
    mtu: 1500,
    portmap: false,
    versions: ['1.0.0'],
  })
  const chain = new Chain(lab, JSON.parse(text).plugins)
  const netns = lab.netns()
  const { annotations } = (pod as { metadata: { annotations: Record<string, string> } }).metadata
  const { json, stdout } = chain.add(netns, { 'io.kubernetes.cri.pod-annotations': { ...annotations, 'tunlink.dev/mtu': '1450' } })
  assert.ok(json.interfaces, stdout)
  const [tun] = ip(netns, 'addr', 'show', 'dev', 'tun0')
  assert.equal([tun.mtu, tun.addr_info[0].local, tun.addr_info[0].address], [1400, '10.99.0.10', '10.99.0.20'])
  assert.is(inside(netns, 'cat', '/sys/class/net/tun0/owner').trim(), '2000')
  assert.equal(ip(netns, 'route', 'show', 'default').length, 1)
  assert.is(ip(netns, 'link', 'show', 'dev', 'eth0')[0].mtu, 1450)
  const refusal = chain.add(lab.netns(), { 'io.kubernetes.cri.pod-annotations': { 'tunlink.dev/tun0.far-end': 'host' } })
  assert.match(refusal.json.msg, /"tunlink.dev\/tun0.far-end" is "host", but this network lets a pod set mtu, owner, addresses, peer alone/)
})

test.run()
