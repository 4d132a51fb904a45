/**
 * An extra TUN (`ifName`) behind a primary plugin in one conflist: ptp of the reference plugins, or
 * tunlink itself.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { Chain } from '../chain.ts'
import { EXECUTABLES, inside, ip, Lab, pings } from '../support.ts'

const PRIMARIES = {
  ptp: { type: 'ptp', ipam: { type: 'tunlink', subnet: '10.66.0.0/24' } },
  tunlink: { type: 'tunlink', ipam: { type: 'tunlink', ranges: [[{ subnet: '10.66.0.0/24' }], [{ subnet: 'fd66::/64' }]] } },
}
const RANGES = [[{ subnet: '10.99.0.0/24' }], [{ subnet: 'fd99::/64' }]]
const EXTRA = { type: 'tunlink', ifName: 'tun0', farEnd: 'attach', owner: 1000, ipam: { type: 'tunlink', ranges: RANGES } }

/** Records and leases of a pod, as ptp has no record of ours. */
const KEPT: Record<string, string[]> = { ptp: ['eth0', 'tun0', 'tun0.json'], tunlink: ['eth0', 'eth0.json', 'tun0', 'tun0.json'] }

const routes = (netns: string) => ['-4', '-6'].map(family => inside(netns, 'ip', family, 'route', 'show', 'default').trim())
/** The built-in IPAM of another plugin keeps its leases in the data directory that `ipam` names. */
const withDir = (plugin: (typeof PRIMARIES)[keyof typeof PRIMARIES], { dataDir }: Lab) => ({ ...plugin, ipam: { ...plugin.ipam, dataDir } })

for (const [name, executable] of EXECUTABLES) {
  for (const [type, primary] of Object.entries(PRIMARIES)) {
    const test = suite(`${name} behind ${type}`)
    const testWithChain = (title: string, extra: object, body: (lab: Lab, chain: Chain) => void) =>
      test(title, () => {
        using lab = new Lab(executable)
        body(lab, new Chain(lab, [withDir(primary, lab), { ...EXTRA, ...extra }]))
      })

    testWithChain('ADD passes the primary on, with the indexes right, and leaves the default routes alone', {}, (lab, chain) => {
      const [alone, pod] = [lab.netns(), lab.netns()]
      const first = new Chain(lab, [withDir(primary, lab)])
      const before = first.add(alone).json
      const { status, stdout, json } = chain.add(pod)
      assert.is(status, 0, stdout)
      const names = json.interfaces.map(({ name }: { name: string }) => name)
      assert.equal(names.slice(-2), ['eth0', 'tun0'])
      assert.is(json.interfaces.at(-1).sandbox, `/run/netns/${pod}`)
      for (const { address, interface: index } of json.ips) {
        const shown = ip(pod, 'addr', 'show', 'dev', json.interfaces[index].name)[0].addr_info
        assert.ok(
          shown.some(({ local }: { local: string }) => address.startsWith(`${local}/`)),
          `${address} is on ${names[index]}`,
        )
      }
      assert.is(json.ips.length, before.ips.length + 2)
      assert.equal(json.routes, before.routes)
      assert.match(routes(alone)[0]!, /^default .*dev eth0/)
      assert.equal(routes(pod), routes(alone), 'the pod of the chain has the default routes of one without the extra TUN')
      assert.ok(pings(pod, before.ips[0].address.split('/')[0]), 'a pod reaches the other by its primary link')
    })

    testWithChain(
      'a route of the extra TUN is there when "routes" asks for it',
      { ipam: { ...EXTRA.ipam, routes: [{ dst: '10.100.0.0/16' }] } },
      (lab, chain) => {
        const pod = lab.netns()
        const { json } = chain.add(pod)
        assert.ok(json.routes.some(({ dst }: { dst: string }) => dst === '10.100.0.0/16'))
        assert.match(inside(pod, 'ip', 'route'), /10\.100\.0\.0\/16 .*dev tun0/)
        inside(pod, 'ip', 'route', 'delete', '10.100.0.0/16')
        const prevResult = { ...json, routes: json.routes.filter(({ dst }: { dst: string }) => dst !== '10.100.0.0/16') }
        assert.match(chain.check(pod, prevResult).at(-1)!, /route 10\.100\.0\.0\/16 .*dev tun0 is missing/)
      },
    )

    testWithChain(
      'a second default route is refused in words and leaves the primary link alone',
      { ipam: { ...EXTRA.ipam, routes: [{ dst: '0.0.0.0/0' }] } },
      (lab, chain) => {
        const pod = lab.netns()
        const { json } = chain.add(pod)
        assert.is(json.code, 7, json.msg)
        assert.match(json.details, /the pod has such a route already/)
        assert.equal(lab.podLinks(pod), ['eth0'])
        assert.equal(chain.del(pod), [undefined, undefined])
        assert.equal(lab.files(), [])
      },
    )

    testWithChain('CHECK finds what is wrong with the extra TUN; DEL twice leaves nothing', {}, (lab, chain) => {
      const pod = lab.netns()
      const { json } = chain.add(pod)
      const ours = () => chain.check(pod, json).at(-1)
      assert.is(ours(), undefined)
      // ptp looks for all addresses of a result on its own interface: a limit that the README names
      if (type === 'ptp') assert.match(chain.check(pod, json)[0]!, /Failed to match addr/)
      else assert.equal(chain.check(pod, json), [undefined, undefined])
      inside(pod, 'ip', 'link', 'set', 'tun0', 'mtu', '1400')
      assert.match(ours()!, /link tun0 has mtu 1400, not 1500/)
      for (const prevResult of [json, undefined]) assert.equal(chain.del(pod, prevResult), [undefined, undefined])
      assert.equal([...lab.links(pod), ...lab.links(lab.node), ...lab.files()], [])
    })

    testWithChain('GC keeps both links and leases of a pod that is there, and collects both of one that is not', {}, (lab, chain) => {
      const [kept, lost] = [lab.netns(), lab.netns()]
      const { json } = chain.add(kept)
      const files = lab.files().sort()
      assert.is(chain.add(lost).status, 0)
      assert.equal(chain.gc([kept]), [undefined, undefined])
      assert.equal(lab.podLinks(kept).sort(), ['eth0', 'tun0'])
      assert.equal(lab.files().sort(), files)
      assert.is(chain.check(kept, json).at(-1), undefined)
      assert.not.ok(lab.links(lost).includes('tun0'))
      assert.equal(chain.gc([]), [undefined, undefined])
      assert.equal(lab.files(), [])
    })

    testWithChain('GC takes a broken record for that of an extra TUN as long as the lease says so', {}, (lab, chain) => {
      const pod = lab.netns()
      const breakRecord = (ifname: string) => writeFileSync(join(lab.dataDir, `links/net/${pod}:${ifname}.json`), '{')
      chain.add(pod)
      lab.must('ADD', pod, { farEnd: 'attach', owner: 1000, ipam: { ...EXTRA.ipam, routes: [] } }, { CNI_IFNAME: 'net1' })
      for (const ifname of ['tun0', 'net1']) breakRecord(ifname)
      const links = new Chain(
        lab,
        chain.plugins.filter(plugin => plugin.type === 'tunlink'),
      )
      for (const failure of links.gc([pod])) assert.is(failure, undefined)
      assert.equal(
        lab
          .files()
          .filter(name => name.startsWith(pod))
          .sort(),
        KEPT[type]!.map(name => `${pod}:${name}`),
      )
      assert.equal(chain.gc([]), [undefined, undefined])
      assert.equal(lab.files(), [])
    })

    testWithChain('GC keeps an extra TUN whose record and lease are of before "cniIfname"', {}, (lab, chain) => {
      const pod = lab.netns()
      chain.add(pod)
      for (const file of [`links/net/${pod}:tun0.json`, `ipam/net/.owners/${pod}:tun0`]) {
        const text = readFileSync(join(lab.dataDir, file), 'utf8')
        assert.match(text, '"cniIfname":"eth0"')
        // in place: leases are links to this inode
        writeFileSync(join(lab.dataDir, file), text.replace(/,"cniIfname":"eth0"/, ''))
      }
      const files = lab.files().sort()
      assert.equal(chain.gc([pod]), [undefined, undefined])
      assert.equal(lab.files().sort(), files)
      assert.ok(lab.links(pod).includes('tun0'))
      assert.equal(chain.gc([]), [undefined, undefined])
      assert.equal(lab.files(), [])
    })

    test.run()
  }
}
