/**
 * The CNI contract as a black box: dispatch, validation, codes, and result shapes in every version,
 * of both executables.
 */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { EXECUTABLES, ip, Lab, VERSIONS } from '../support.ts'

const test = suite('contract')

/** The versions that have the verb. */
const versionsWith = (command: string) =>
  VERSIONS.filter(version => version >= (({ CHECK: '0.4.0', GC: '1.1.0', STATUS: '1.1.0' } as Record<string, string>)[command] ?? '0.1.0'))

/** For names of tests: JSON leaves out what is undefined. */
const inWords = (values: object) => JSON.stringify(values, (_, value) => value ?? 'unset')

for (const [name, executable] of EXECUTABLES) {
  const lab = new Lab(executable)
  const pod = lab.netns()
  const untouched = () => assert.equal([...lab.links(pod), ...lab.links(lab.node), ...lab.files()], [], 'nothing was changed')
  const refused = (output: ReturnType<Lab['run']>, code: number, message: string | RegExp) => {
    assert.is(output.status, 1, output.stderr)
    assert.is(output.json?.code, code, output.stdout)
    if (typeof message === 'string') assert.is(output.json.msg, message)
    else assert.match(output.json.msg, message)
    assert.type(output.json.cniVersion, 'string')
    untouched()
  }

  const environments: [string, Record<string, string | undefined>, number, string | RegExp][] = [
    ['ADD', { CNI_CONTAINERID: 'some-%%container-id' }, 4, 'invalid characters in containerID'],
    ['ADD', { CNI_IFNAME: '1234567890123456' }, 4, 'interface name is too long'],
    ['ADD', { CNI_IFNAME: '.' }, 4, 'interface name is . or ..'],
    ['ADD', { CNI_IFNAME: '..' }, 4, 'interface name is . or ..'],
    ['ADD', { CNI_IFNAME: 'test/test' }, 4, 'interface name contains / or : or whitespace characters'],
    ['ADD', { CNI_IFNAME: 'test:test' }, 4, 'interface name contains / or : or whitespace characters'],
    ['ADD', { CNI_IFNAME: 'test test' }, 4, 'interface name contains / or : or whitespace characters'],
    ['ADD', { CNI_IFNAME: 'tt%d' }, 4, /contains %/],
    [
      'ADD',
      { CNI_NETNS: undefined, CNI_IFNAME: undefined, CNI_PATH: undefined },
      4,
      'required env variables [CNI_NETNS,CNI_IFNAME,CNI_PATH] missing',
    ],
    ...['ADD', 'CHECK'].flatMap(verb =>
      ['CONTAINERID', 'NETNS', 'IFNAME', 'PATH'].map(
        key =>
          [verb, { [`CNI_${key}`]: undefined }, 4, `required env variables [CNI_${key}] missing`] as [
            string,
            Record<string, undefined>,
            number,
            string,
          ],
      ),
    ),
    ...['CONTAINERID', 'IFNAME', 'PATH'].map(
      key =>
        ['DEL', { [`CNI_${key}`]: undefined }, 4, `required env variables [CNI_${key}] missing`] as [
          string,
          Record<string, undefined>,
          number,
          string,
        ],
    ),
    ['GC', { CNI_PATH: undefined }, 4, 'required env variables [CNI_PATH] missing'],
    ['NOPE', {}, 4, 'unknown CNI_COMMAND: NOPE'],
    ['ADD', { CNI_NETNS: '/run/netns/absent' }, 8, /"\/run\/netns\/absent" cannot be opened/],
    ['ADD', { CNI_NETNS: '/etc/passwd' }, 8, /"\/etc\/passwd" is not a network namespace/],
    ['ADD', { CNI_NETNS: '/proc/self/ns/net' }, 8, "plugin's netns and netns from CNI_NETNS should not be the same"],
    ['ADD', { CNI_ARGS: 'FOO=BAR' }, 4, 'ARGS: unknown args ["FOO=BAR"]'],
    ['ADD', { CNI_ARGS: 'FOO' }, 4, 'ARGS: invalid pair "FOO"'],
    ['ADD', { CNI_ARGS: 'MAC=02:00:00:00:00:01' }, 2, /CNI_ARGS MAC is "02:00:00:00:00:01"/],
    ['ADD', { CNI_ARGS: 'IP=10.66.0' }, 7, 'CNI_ARGS IP must be addresses, not "10.66.0"'],
  ]
  for (const [command, env, code, message] of environments) {
    test(`${name}: ${command} with ${inWords(env)}`, () => {
      for (const cniVersion of versionsWith(command)) refused(lab.cni(command, pod, { cniVersion }, env), code, message)
    })
  }

  const configurations: [string, object, number, string | RegExp][] = [
    ['ADD', { cniVersion: '9.9.9' }, 1, 'incompatible CNI versions'],
    ['ADD', { cniVersion: '1.0' }, 1, 'incompatible CNI versions'],
    ['CHECK', { cniVersion: '0.3.1' }, 1, 'config version does not allow CHECK'],
    ['GC', { cniVersion: '1.0.0' }, 1, 'config version does not allow GC'],
    ['STATUS', { cniVersion: '1.0.0' }, 1, 'config version does not allow STATUS'],
    ['CHECK', { cniVersion: '1.9.0' }, 1, 'plugin version does not allow CHECK'],
    ['STATUS', { cniVersion: 'adsfsadf' }, 6, /adsfsadf/],
    ['ADD', { name: 'te%%st' }, 7, 'invalid characters found in network name'],
    ['ADD', { name: '' }, 7, 'missing network name'],
    ['ADD', { mtu: 67 }, 7, '"mtu" must be an integer from 68 to 65535, not 67'],
    ['ADD', { mtu: 65536 }, 7, '"mtu" must be an integer from 68 to 65535, not 65536'],
    ['ADD', { mtu: '1500' }, 7, '"mtu" must be an integer from 68 to 65535, not "1500"'],
    ['ADD', { mtu: 1279, ipam: { type: 'tunlink', subnet: 'fd66::/64' } }, 7, '"mtu" must be at least 1280 with IPv6 addresses, not 1279'],
    ['ADD', { runtimeConfig: { mac: '02:00:00:00:00:01' } }, 2, /runtimeConfig.mac is "02:00:00:00:00:01"/],
    ['ADD', { bridge: 'br1' }, 2, /"bridge" is "br1"/],
    ['ADD', { farEnd: 'attach' }, 7, /any user could attach/],
    ['ADD', { farEnd: 'nowhere' }, 7, '"farEnd" must be "host" or "attach", not "nowhere"'],
    ['ADD', { addressing: 'flat' }, 7, '"addressing" must be "peer" or "subnet", not "flat"'],
    ['ADD', { owner: 1000 }, 7, /"owner" is 1000, but goes with "farEnd": "attach" only/],
    ['ADD', { farEnd: 'attach', owner: -1 }, 7, /"owner" must be an integer/],
    ['ADD', { ipMasq: 'yes' }, 7, '"ipMasq" must be true or false, not "yes"'],
    ['ADD', { txQLen: 0 }, 7, /"txQLen" must be an integer from 1/],
    ['ADD', { peer: '10.66.0.300' }, 7, /"peer" must be an address/],
    ['ADD', { peer: ['10.1.1.1', '10.1.1.2'] }, 7, /"peer" must be a list with one address per family/],
    ['ADD', { dataDir: 'relative' }, 7, /"dataDir" must be an absolute path/],
    ['ADD', { agent: { spawn: 'no' } }, 7, '"agent.spawn" must be true or false, not "no"'],
    ['ADD', { ipam: undefined }, 7, /no IP address: "ipam" is missing/],
    ['ADD', { ipam: { type: 'absent' } }, 7, /failed to find plugin "absent" in path/],
    ['ADD', { ipam: { subnet: '10.0.0.0/24' } }, 7, /"ipam.type" must be the name of a plugin, but is missing/],
    ['ADD', { ipam: { type: 'tunlink' } }, 7, '"ipam" needs "subnet" or "ranges"'],
    ['ADD', { ipam: { type: 'tunlink', subnet: '10.0.0.1/24' } }, 7, /without host bits \(10.0.0.0\/24\), not "10.0.0.1\/24"/],
    ['ADD', { ipam: { type: 'tunlink', subnet: '10.0.0.0/33' } }, 7, /"ipam.subnet" must be a network/],
    [
      'ADD',
      { ipam: { type: 'tunlink', subnet: '10.0.0.0/24', rangeStart: '10.0.1.1' } },
      7,
      /"ipam.rangeStart" must be an address in 10.0.0.0\/24/,
    ],
    ['ADD', { ipam: { type: 'tunlink', subnet: '10.0.0.0/24', gateway: 'fd00::1' } }, 7, /"ipam.gateway" must be an IPv4 address/],
    ['ADD', { ipam: { type: 'tunlink', ranges: [[{ subnet: '10.0.0.0/24' }, { subnet: 'fd00::/64' }]] } }, 7, /mixes IPv4 and IPv6/],
    ['ADD', { ipam: { type: 'tunlink', ranges: [[{ subnet: '10.0.0.0/24' }], [{ subnet: '10.0.0.0/25' }]] } }, 7, /overlap/],
    [
      'ADD',
      { ipam: { type: 'tunlink', subnet: '10.0.0.0/24', exclude: ['x'] } },
      7,
      /"ipam.exclude" must be a list of addresses and networks, not "x"/,
    ],
    [
      'ADD',
      { ipam: { type: 'tunlink', subnet: '10.0.0.0/24', routes: [{ dst: 'everywhere' }] } },
      7,
      /"ipam.routes" must be routes with a network in "dst"/,
    ],
    [
      'ADD',
      { ipam: { type: 'tunlink', subnet: '10.66.0.0/24', routes: [{ dst: '::/0' }] } },
      7,
      /route "::\/0" has no IPv6 address to leave from/,
    ],
    ['ADD', { runtimeConfig: { ips: ['192.0.2.1'] } }, 7, /requested address "192.0.2.1" is in none of the ranges/],
    ['ADD', { ipam: { type: 'tunlink', subnet: '10.66.0.0/24', resolvConf: '/absent' } }, 7, /"ipam.resolvConf" is "\/absent"/],
    ['ADD', { ipam: { type: 'tunlink', ranges: [[{ subnet: 'fd66::/128', gateway: 'fd66::' }]] } }, 7, /with an address to give/],
    ['ADD', { wire: 'veth' }, 7, '"wire" must be "auto" or "kernel" or "thread", not "veth"'],
    ['ADD', { dns: { nameservers: [5] } }, 7, '"dns.nameservers" must be a list of strings, not [5]'],
    ['ADD', { prevResult: { interfaces: 'x' } }, 6, '"prevResult.interfaces" must be a list of objects, not "x"'],
    ['ADD', { dataDir: '/etc/passwd' }, 5, /ENOTDIR/],
    ['ADD', { dataDir: '/proc/tunlink' }, 5, /ENOENT/],
    ['GC', {}, 7, /"cni.dev\/valid-attachments" is missing/],
    ['CHECK', {}, 7, /prevResult is missing/],
  ]
  for (const [command, conf, code, message] of configurations) {
    test(`${name}: ${command} with ${inWords(conf)}`, () => {
      for (const cniVersion of versionsWith(command)) refused(lab.cni(command, pod, { cniVersion, ...conf }), code, message)
    })
  }

  test(`${name}: names what the configuration has and what it supports`, () => {
    assert.is(
      lab.cni('ADD', pod, { cniVersion: '9.9.9' }).json.details,
      `config is "9.9.9", plugin supports [${VERSIONS.map(version => `"${version}"`).join(' ')}]`,
    )
  })

  test(`${name}: VERSION needs neither environment nor standard input`, () => {
    const { status, json } = lab.run({ CNI_COMMAND: 'VERSION' }, '{ garbage')
    assert.is(status, 0)
    assert.equal(json.supportedVersions, VERSIONS)
  })

  test(`${name}: VERSION as libcni and podman call it`, () => {
    const dummy = { CNI_COMMAND: 'VERSION', CNI_NETNS: 'dummy', CNI_IFNAME: 'dummy', CNI_PATH: 'dummy', CNI_CONTAINERID: '' }
    assert.is(lab.run(dummy, '{"cniVersion":"1.1.0"}').status, 0)
  })

  test(`${name}: without a command says what it is, on stderr`, () => {
    for (const CNI_COMMAND of [undefined, '']) {
      const { status, stdout, stderr } = lab.run({ CNI_COMMAND }, '')
      assert.is(status, 0)
      assert.is(stdout, '')
      assert.match(stderr, /CNI protocol versions supported: 0\.1\.0, .*1\.1\.0/)
    }
  })

  test(`${name}: bad JSON is code 6`, () => {
    const env = { CNI_COMMAND: 'ADD', CNI_CONTAINERID: 'c', CNI_NETNS: `/run/netns/${pod}`, CNI_IFNAME: 'eth0', CNI_PATH: '/x' }
    refused(lab.run(env, '{'), 6, /^error unmarshall network config: /)
  })

  for (const cniVersion of VERSIONS) {
    test(`${name}: ADD, CHECK and DEL in ${cniVersion}`, () => {
      const conf = {
        cniVersion,
        mtu: 1400,
        dns: { nameservers: ['10.1.2.3'], search: ['a.b'] },
        ipam: { type: 'tunlink', ranges: [[{ subnet: '10.66.0.0/30' }], [{ subnet: 'fd66::4/126' }]] },
      }
      const { json } = lab.must('ADD', pod, conf)
      const [host, eth0, v4, v6, routes] = [
        json.interfaces?.[0]?.name,
        'eth0',
        '10.66.0.2/32',
        json.ips?.[1]?.address ?? json.ip6?.ip,
        [
          { dst: '0.0.0.0/0', gw: '10.66.0.1' },
          { dst: '::/0', gw: 'fd66::5' },
        ],
      ]
      const dns = conf.dns
      const sandbox = `/run/netns/${pod}`
      const version = (number: string) => (cniVersion < '1.0.0' ? { version: number } : {})
      const mtu = cniVersion === '1.1.0' ? { mtu: 1400 } : {}
      assert.equal(
        json,
        cniVersion < '0.3.0'
          ? {
              cniVersion,
              ip4: { ip: v4, gateway: '10.66.0.1', routes: [routes[0]] },
              ip6: { ip: v6, gateway: 'fd66::5', routes: [routes[1]] },
              dns,
            }
          : {
              cniVersion,
              interfaces: [
                { name: host, ...mtu },
                { name: eth0, ...mtu, sandbox },
              ],
              ips: [
                { ...version('4'), interface: 1, address: v4, gateway: '10.66.0.1' },
                { ...version('6'), interface: 1, address: v6, gateway: 'fd66::5' },
              ],
              routes,
              dns,
            },
      )
      if (cniVersion >= '0.4.0') {
        const check = lab.must('CHECK', pod, { ...conf, prevResult: json })
        assert.is(check.stdout, '')
      }
      assert.is(lab.must('DEL', pod, { ...conf, prevResult: json }).stdout, '')
      lab.must('DEL', pod, { ...conf, prevResult: json })
      untouched()
    })
  }

  for (const cniVersion of VERSIONS) {
    test(`${name}: an attach link, twice, in ${cniVersion}`, () => {
      const conf = { cniVersion, farEnd: 'attach', owner: 5, group: 6 }
      const { json } = lab.must('ADD', pod, conf)
      if (cniVersion >= '0.3.0')
        assert.equal(json.interfaces, [{ name: 'eth0', ...(cniVersion === '1.1.0' ? { mtu: 1500 } : {}), sandbox: `/run/netns/${pod}` }])
      const [link] = ip(pod, '-d', 'link', 'show', 'dev', 'eth0')
      assert.is(link.linkinfo.info_data.type, 'tun')
      assert.ok(['POINTOPOINT', 'NOARP'].every(flag => link.flags.includes(flag)))
      assert.is(lab.cni('ADD', pod, conf).json.code, 4)
      if (cniVersion >= '0.4.0') lab.must('CHECK', pod, { ...conf, prevResult: json })
      else assert.is(lab.cni('CHECK', pod, { ...conf, prevResult: json }).json.msg, 'config version does not allow CHECK')
      lab.must('DEL', pod, conf)
      lab.must('DEL', pod, conf)
      untouched()
    })
  }

  test(`${name}: allowAnyUser makes a device that anybody may attach to`, () => {
    lab.must('ADD', pod, { farEnd: 'attach', allowAnyUser: true })
    const { user, group } = ip(pod, '-d', 'link', 'show', 'dev', 'eth0')[0].linkinfo.info_data
    assert.equal([user, group], [undefined, undefined])
    lab.must('DEL', pod, { farEnd: 'attach', allowAnyUser: true })
    untouched()
  })

  test(`${name}: no cniVersion is 0.1.0`, () => {
    const { json } = lab.must('ADD', pod, { cniVersion: undefined })
    assert.is(json.cniVersion, '0.1.0')
    assert.ok(json.ip4.ip.endsWith('/32'))
    lab.must('DEL', pod, { cniVersion: undefined })
  })

  test(`${name}: a second ADD fails, and the first link stays whole`, () => {
    const { json } = lab.must('ADD', pod)
    const again = lab.cni('ADD', pod)
    assert.is(again.json.code, 4)
    lab.must('CHECK', pod, { prevResult: json })
    lab.must('DEL', pod)
    untouched()
  })

  for (const cniVersion of VERSIONS) {
    test(`${name}: in ${cniVersion}, ADD of another container on the same interface leaks nothing, and its DEL leaves the first alone`, () => {
      lab.must('ADD', pod, { cniVersion })
      const other = lab.cni('ADD', pod, { cniVersion }, { CNI_CONTAINERID: 'other' })
      assert.is(other.json.code, 4, other.stdout)
      lab.must('DEL', pod, { cniVersion }, { CNI_CONTAINERID: 'other' })
      assert.equal([lab.podLinks(pod), lab.links(lab.node).length], [['eth0'], 1])
      lab.must('DEL', pod, { cniVersion })
      untouched()
    })

    test(`${name}: in ${cniVersion}, DEL of what is not there`, () => {
      lab.must('DEL', pod, { cniVersion })
      for (const CNI_NETNS of [undefined, '', '/run/netns/absent', '/etc/passwd']) {
        lab.must('ADD', pod, { cniVersion })
        lab.must('DEL', pod, { cniVersion }, { CNI_NETNS })
        lab.must('DEL', pod, { cniVersion }, { CNI_NETNS })
        untouched()
      }
    })
  }

  for (const cniVersion of VERSIONS) {
    test(`${name}: in ${cniVersion}, dual-stack with routes of every length`, () => {
      const routes = ['0.0.0.0/0', '192.168.0.0/16', '1.2.3.4/32', '2001:db8::/66'].map(dst => ({ dst }))
      lab.must('ADD', pod, {
        cniVersion,
        ipam: { type: 'tunlink', ranges: [[{ subnet: '10.66.0.0/24' }], [{ subnet: 'fd66::/64' }]], routes },
      })
      const present = ['-4', '-6'].flatMap(family => ip(pod, family, 'route', 'show', 'dev', 'eth0').map(({ dst }: { dst: string }) => dst))
      for (const dst of ['default', '192.168.0.0/16', '1.2.3.4', '2001:db8::/66']) assert.ok(present.includes(dst), `${dst} in ${present}`)
      lab.must('DEL', pod, { cniVersion })
      untouched()
    })

    test(`${name}: in ${cniVersion}, dns is the IPAM's, or wholly the configuration's, even when empty`, () => {
      const ipam = { type: 'tunlink', subnet: '10.66.0.0/24', dns: { nameservers: ['10.9.9.9'], search: ['ipam'] } }
      for (const dns of [
        undefined,
        { nameservers: ['10.1.1.1'] },
        { domain: 'a' },
        { search: ['a'] },
        { options: ['ndots:5'] },
        { nameservers: [] },
      ]) {
        assert.equal(lab.must('ADD', pod, { cniVersion, ipam, dns }).json.dns, dns ?? ipam.dns)
        lab.must('DEL', pod, { cniVersion })
      }
      untouched()
    })
  }

  test(`${name}: requested addresses, by precedence`, () => {
    const asks = { args: { cni: { ips: ['10.66.0.8'] } }, runtimeConfig: { ips: ['10.66.0.7/24'] } }
    assert.is(lab.must('ADD', pod, asks, { CNI_ARGS: 'IP=10.66.0.9' }).json.ips[0].address, '10.66.0.7/32')
    lab.must('DEL', pod)
    assert.is(lab.must('ADD', pod, { args: asks.args }, { CNI_ARGS: 'IP=10.66.0.9' }).json.ips[0].address, '10.66.0.8/32')
    lab.must('DEL', pod)
    assert.is(lab.must('ADD', pod, { ipam: undefined }, { CNI_ARGS: 'IgnoreUnknown=1;IP=10.66.0.9' }).json.ips[0].address, '10.66.0.9/32')
    lab.must('DEL', pod, { ipam: undefined })
    untouched()
  })

  test(`${name} 1.7: chained, adds its interface behind those of the previous result`, () => {
    const prevResult = {
      cniVersion: '1.1.0',
      interfaces: [{ name: 'veth1' }, { name: 'eth0', sandbox: `/run/netns/${pod}` }],
      ips: [{ interface: 1, address: '10.244.1.7/24', gateway: '10.244.1.1' }],
      routes: [{ dst: '0.0.0.0/0' }],
    }
    const conf = {
      prevResult,
      ifName: 'tun0',
      farEnd: 'attach',
      owner: 1000,
      ipam: { type: 'tunlink', subnet: '10.66.0.0/24', routes: [] },
    }
    const { json } = lab.must('ADD', pod, conf)
    assert.equal(json.interfaces.slice(0, 2), prevResult.interfaces)
    assert.equal(json.interfaces[2], { name: 'tun0', mtu: 1500, sandbox: `/run/netns/${pod}` })
    assert.equal([json.ips[0], json.ips[1].interface, json.routes], [prevResult.ips[0], 2, prevResult.routes])
    lab.must('CHECK', pod, { ...conf, prevResult: json })
    lab.must('DEL', pod, conf)
    untouched()
  })

  test(`${name}: GC keeps the valid, removes the rest, takes null for an empty list`, () => {
    const second = lab.netns()
    lab.must('ADD', pod)
    lab.must('ADD', second)
    lab.must(
      'GC',
      pod,
      { 'cni.dev/valid-attachments': [{ containerID: second, ifname: 'eth0' }] },
      { CNI_CONTAINERID: '', CNI_NETNS: '', CNI_IFNAME: '' },
    )
    assert.equal([lab.links(pod), lab.podLinks(second)], [[], ['eth0']])
    lab.must('GC', pod, { 'cni.dev/valid-attachments': null })
    assert.equal(lab.links(second), [])
    untouched()
  })

  test(`${name}: STATUS is fine, with an exhausted pool too; 50 when no agent may be spawned, when a delegate fails`, () => {
    lab.must('STATUS', pod)
    const small = { ipam: { type: 'tunlink', subnet: '10.66.0.5/32' } }
    lab.must('ADD', pod, small)
    lab.must('STATUS', pod, small) // a node that is not ready would lose its healthy pods as well
    lab.must('DEL', pod, small)
    assert.is(lab.cni('STATUS', pod, { wire: 'thread', dataDir: `${lab.dataDir}/alone`, agent: { spawn: false } }).json?.code, 50)
    assert.is(lab.cni('STATUS', pod, { ipam: { type: 'absent' } }).json?.code, 50)
  })

  test(`${name}: an exhausted pool is code 100, and names the range`, () => {
    const small = { ipam: { type: 'tunlink', subnet: '10.66.0.5/32' } }
    const second = lab.netns()
    lab.must('ADD', pod, small)
    const output = lab.cni('ADD', second, small)
    assert.equal([output.json.code, output.json.msg], [100, 'no addresses available in range set: 10.66.0.5-10.66.0.5'])
    lab.must('DEL', pod, small)
    untouched()
  })

  test(`${name}: an exhausted second range gives the first one's address back`, () => {
    const ipam = { type: 'tunlink', ranges: [[{ subnet: '10.66.0.0/24' }], [{ subnet: 'fd66::/128' }]] }
    const second = lab.netns()
    lab.must('ADD', pod, { ipam })
    const output = lab.cni('ADD', second, { ipam })
    assert.equal([output.json.code, output.json.msg], [100, 'no addresses available in range set: fd66::-fd66::'])
    lab.must('DEL', pod, { ipam })
    untouched()
  })

  const byAnnotation = (annotations: object, conf: object = {}) => ({
    annotations: ['mtu', 'peer', 'addresses', 'owner', 'group', 'far-end'],
    ...conf,
    runtimeConfig: { 'io.kubernetes.cri.pod-annotations': annotations },
  })

  test(`${name}: annotations say what the TUN is, within what the network allows`, () => {
    const annotations = {
      'tunlink.dev/far-end': 'attach',
      'tunlink.dev/owner': '123456', // nobody on this machine: ip(8) prints names
      'tunlink.dev/group': '234567',
      'tunlink.dev/mtu': '1400',
      'tunlink.dev/peer': '10.9.9.9',
      'tunlink.dev/addresses': '10.66.0.77',
    }
    const { json } = lab.must('ADD', pod, byAnnotation(annotations))
    assert.equal(json.ips, [{ interface: 0, address: '10.66.0.77/32', gateway: '10.9.9.9' }])
    const [link] = ip(pod, '-d', 'addr', 'show', 'dev', 'eth0')
    assert.equal([link.mtu, link.linkinfo.info_data.user, link.linkinfo.info_data.group], [1400, 123456, 234567])
    assert.equal([link.addr_info[0].local, link.addr_info[0].address], ['10.66.0.77', '10.9.9.9'])
    assert.equal(lab.links(lab.node), [], 'the node has no end of it')
    lab.must('CHECK', pod, { prevResult: json })
    lab.must('DEL', pod, byAnnotation({ 'tunlink.dev/owner': 'nobody' }))
    untouched()
  })

  test(`${name}: an annotation that is wrong or not allowed is code 7 and changes nothing; DEL and GC do not mind it`, () => {
    const other = lab.netns()
    lab.must('ADD', other, { ipam: { type: 'tunlink', subnet: '10.66.0.7/32' } })
    const before = [lab.links(lab.node), lab.files()]
    for (const [annotations, message, conf, code] of [
      [
        { 'tunlink.dev/owner': '1000' },
        /"tunlink.dev\/owner" is "1000", but this network lets a pod set mtu alone/,
        { annotations: undefined },
      ],
      [{ 'tunlink.dev/far-end': 'node' }, /"tunlink.dev\/far-end" must be "host" or "attach", not "node"/],
      [{ 'tunlink.dev/peer': '10.0.0.1' }, /"tunlink.dev\/peer" is "10.0.0.1", but goes with the far end "attach" only/],
      [{ 'tunlink.dev/addresses': '10.1.1.1' }, /"tunlink.dev\/addresses" asks for 10.1.1.1: .* is in none of the ranges/],
      [{ 'tunlink.dev/addresses': '10.66.0.1' }, /"tunlink.dev\/addresses" asks for 10.66.0.1: .* is not available/, {}, 100],
      [{ 'tunlink.dev/addresses': '10.66.0.7' }, /"tunlink.dev\/addresses" asks for 10.66.0.7: .* is not available/, {}, 100],
      [
        { 'tunlink.dev/addresses': '10.66.0.9' },
        /"tunlink.dev\/addresses" is "10.66.0.9", but the network has no "ipam"/,
        { ipam: undefined },
      ],
      [
        { 'tunlink.dev/addresses': '10.66.0.9' },
        /but "ipam.type" is "host-local"/,
        { ipam: { type: 'host-local', subnet: '10.66.0.0/24' } },
      ],
    ] as [object, RegExp, object?, number?][]) {
      const wrong = byAnnotation(annotations, conf)
      const { status, json } = lab.cni('ADD', pod, wrong)
      assert.equal([status, json.code], [1, code ?? 7], json.msg)
      assert.match(json.msg, message)
      assert.equal([lab.links(pod), [lab.links(lab.node), lab.files()]], [[], before])
      if (code === 100) lab.must('DEL', pod, wrong)
      lab.must('GC', pod, { ...byAnnotation(annotations), 'cni.dev/valid-attachments': [{ containerID: other, ifname: 'eth0' }] })
      assert.equal([lab.links(lab.node), lab.files()], before)
    }
    lab.must('DEL', other)
    untouched()
  })

  test(`${name}: DEL of a pod whose configuration ADD would refuse now`, () => {
    const annotations = { 'io.kubernetes.cri.pod-annotations': { 'tunlink.dev/mtu': 'jumbo' } }
    for (const conf of [
      { runtimeConfig: annotations },
      { runtimeConfig: { mac: '02:00:00:00:00:01' } },
      { mtu: 20 },
      { prevResult: 'x' },
    ]) {
      lab.must('ADD', pod)
      assert.is(lab.cni('ADD', pod, conf, { CNI_CONTAINERID: 'other' }).status, 1)
      lab.must('DEL', pod, conf, { CNI_ARGS: 'FOO' })
      untouched()
    }
  })

  test(`${name}: names of other letters, and as long as they come`, () => {
    const long = { CNI_CONTAINERID: 'c'.repeat(400), CNI_IFNAME: 'büüüüüü0' }
    for (const [conf, env] of [
      [{ ipam: { type: 'tunlink', ranges: [[{ subnet: '10.66.0.0/24' }], [{ subnet: 'fd66::/64' }]] } }, { CNI_IFNAME: 'büro0' }],
      [{ name: 'n'.repeat(255) }, long],
    ] as const) {
      const { json } = lab.must('ADD', pod, conf, env)
      assert.equal([lab.podLinks(pod), json.interfaces[1].name], [[env.CNI_IFNAME], env.CNI_IFNAME])
      lab.must('CHECK', pod, { ...conf, prevResult: json }, env)
      lab.must('DEL', pod, conf, env)
      untouched()
    }
  })

  test(`${name}: names a key that was meant, on stderr`, () => {
    assert.match(lab.must('ADD', pod, { ipmasq: true }).stderr, /unknown key "ipmasq": did you mean "ipMasq"\?/)
    assert.is(lab.must('DEL', pod, { ipmasq: true }).stderr, '')
  })

  for (const type of ['host-local', 'static']) {
    test(`${name}: delegates addresses to ${type}, and takes them back`, () => {
      const ipam =
        type === 'static'
          ? { type, addresses: [{ address: '10.77.0.5/24', gateway: '10.77.0.1' }], routes: [{ dst: '0.0.0.0/0' }] }
          : {
              type,
              dataDir: `${lab.dataDir}/host-local`,
              ranges: [[{ subnet: '10.77.0.0/24', rangeStart: '10.77.0.5', rangeEnd: '10.77.0.5' }]],
              routes: [{ dst: '0.0.0.0/0' }],
            }
      for (let round = 0; round < 2; round++) {
        const { json } = lab.must('ADD', pod, { cniVersion: '1.0.0', ipam })
        assert.equal(json.ips, [{ interface: 1, address: '10.77.0.5/32', gateway: '10.77.0.1' }])
        lab.must('CHECK', pod, { cniVersion: '1.0.0', ipam, prevResult: json })
        lab.must('DEL', pod, { cniVersion: '1.0.0', ipam })
      }
      untouched()
    })
  }

  test(`${name}: a failing ADD gives a delegated address back`, () => {
    const ipam = {
      type: 'host-local',
      dataDir: `${lab.dataDir}/host-local`,
      ranges: [[{ subnet: '10.77.0.0/24', rangeStart: '10.77.0.5', rangeEnd: '10.77.0.5' }]],
    }
    const first = lab.must('ADD', pod)
    assert.is(lab.cni('ADD', pod, { cniVersion: '1.0.0', ipam }, { CNI_CONTAINERID: 'other' }).json.code, 4)
    lab.must('DEL', pod, { prevResult: first.json })
    lab.must('ADD', pod, { cniVersion: '1.0.0', ipam })
    lab.must('DEL', pod, { cniVersion: '1.0.0', ipam })
  })

  test(`${name}: is the IPAM of another plugin`, () => {
    const conf = { cniVersion: '1.0.0', type: 'ptp', ipam: { type: 'tunlink', subnet: '10.66.0.0/24', dataDir: lab.dataDir } }
    const { json } = lab.must('ADD', pod, conf)
    assert.match(json.ips[0].address, /^10\.66\.0\.\d+\/24$/)
    assert.is(json.ips[0].gateway, '10.66.0.1')
    lab.must('CHECK', pod, conf)
    lab.must('DEL', pod, conf)
    untouched()
  })

  test.after(() => lab.close())
}

test.run()
