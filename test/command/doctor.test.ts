/** `tunlink doctor` on a node that is well, and with one fault after the other planted. */
import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { SYS_BPF } from '../../src/linux/bpf.ts'
import { EXECUTABLES, eventually, inside, ip, Lab } from '../support.ts'
import { tunlink } from './run.ts'

const test = suite('doctor')
const root = mkdtempSync(join(tmpdir(), 'tunlink-doctor-'))
const [confDir, binDir] = [join(root, 'net.d'), join(root, 'bin')]
const conflist = join(confDir, '10-tunlink.conflist')
const portmap = join(binDir, 'portmap')
let lab: Lab
let pod: string

const AGENT = { idleSeconds: 0 }

function writeConflist(keys: object = {}): void {
  const { cniVersion, name, ...ours } = { ...lab.conf, agent: AGENT, ...keys }
  writeFileSync(conflist, JSON.stringify({ cniVersion, name, plugins: [ours, { type: 'portmap' }] }))
}

function writePortmap(...versions: string[]): void {
  writeFileSync(portmap, `#!/bin/sh\necho '${JSON.stringify({ cniVersion: '1.0.0', supportedVersions: versions })}'\n`)
  chmodSync(portmap, 0o755)
}

test.before(() => {
  lab = new Lab()
  pod = lab.netns()
  for (const directory of [confDir, binDir]) mkdirSync(directory)
  symlinkSync(EXECUTABLES[0]![1], join(binDir, 'tunlink'))
  writePortmap('1.0.0', '1.1.0')
  writeConflist()
  lab.must('ADD', pod, { agent: AGENT })
})
test.after(() => {
  lab.close()
  rmSync(root, { recursive: true })
})

interface Found {
  check: string
  level: 'fault' | 'warning'
  text: string
  mend: string
}

function doctor(wrapper: string[] = []): { status: number | null; found: Found[] } {
  const { status, stdout, stderr, json } = tunlink(lab, ['doctor', '-o', 'json', '--conf-dir', confDir, '--bin-dir', binDir], wrapper)
  assert.ok(json, stdout + stderr)
  return {
    status,
    found: json.flatMap(({ check, findings }: { check: string; findings: Found[] }) => findings.map(finding => ({ ...finding, check }))),
  }
}

/** One that is planted: `plant` says how to take it out again. */
interface Planted {
  check: string
  level?: 'warning'
  text: RegExp
  /** Checks that see the same fault from another side. */
  also?: string[]
  wrapper?: string[]
  plant(): () => void
}

const nothing = () => () => {}
const node = (...command: string[]) => inside(lab.node, ...command)
const WITHOUT_TUN = ['unshare', '-m', 'sh', '-c', 'mount -t tmpfs none /dev/net && exec "$@"', 'sh']
const EPERM = '1'
const WITHOUT_BPF = [process.execPath, join(import.meta.dirname, '../live/without-syscall.ts'), String(SYS_BPF), EPERM]
const leased = () => readdirSync(`${lab.dataDir}/ipam/net`).find(name => !name.startsWith('.'))!

const FAULTS: Record<string, Planted> = {
  'no /dev/net/tun': { check: 'device', text: /ENOENT/, also: ['wires'], wrapper: WITHOUT_TUN, plant: nothing },
  'a kernel without BPF, where the kernel wire is asked for': {
    check: 'wires',
    text: /"net" has "wire": "kernel", which cannot be had: .*EPERM/,
    also: ['links'],
    wrapper: WITHOUT_BPF,
    plant: () => {
      writeConflist({ wire: 'kernel' })
      return writeConflist
    },
  },
  'forwarding switched off': {
    check: 'forwarding',
    text: /net\.ipv4\.ip_forward is 0/,
    plant: () => {
      node('sysctl', '-qw', 'net.ipv4.ip_forward=0')
      return () => void node('sysctl', '-qw', 'net.ipv4.ip_forward=1')
    },
  },
  'a source check switched off': {
    check: 'source checks',
    text: /rp_filter is 0/,
    plant: () => {
      const key = `net.ipv4.conf.${lab.links(lab.node)[0]}.rp_filter`
      node('sysctl', '-qw', `${key}=0`)
      return () => void node('sysctl', '-qw', `${key}=1`)
    },
  },
  'a firewall that drops what is forwarded': {
    check: 'firewall',
    text: /chain ip filter FORWARD is drop/,
    plant: () => {
      node('nft', 'add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }')
      return () => void node('nft', 'delete table ip filter')
    },
  },
  'no conflist': {
    check: 'conflist',
    text: /is empty or missing/,
    plant: () => {
      renameSync(conflist, join(root, 'away'))
      return () => renameSync(join(root, 'away'), conflist)
    },
  },
  'a conflist that is no JSON': {
    check: 'conflist',
    text: /10-tunlink\.conflist: .*JSON/i,
    plant: () => {
      writeFileSync(conflist, '{"cniVersion":')
      return writeConflist
    },
  },
  'a conflist without plugins': {
    check: 'conflist',
    text: /10-tunlink\.conflist: it has no list "plugins"/,
    plant: () => {
      writeFileSync(conflist, JSON.stringify(lab.conf))
      return writeConflist
    },
  },
  'a conflist of another name': {
    check: 'conflist',
    text: /10-tunlink\.json: a file with "plugins" must be called \*\.conflist/,
    plant: () => {
      renameSync(conflist, join(confDir, '10-tunlink.json'))
      return () => renameSync(join(confDir, '10-tunlink.json'), conflist)
    },
  },
  'a version of CNI that there is not': {
    check: 'conflist',
    text: /incompatible CNI versions: config is "9\.0\.0", plugin supports \["0\.1\.0"/,
    also: ['chained plugins'],
    plant: () => {
      writeConflist({ cniVersion: '9.0.0' })
      return writeConflist
    },
  },
  'a network of other plugins alone': {
    check: 'conflist',
    text: /has no plugin of the type "tunlink": 10-tunlink\.conflist has tunlinkk, portmap/,
    plant: () => {
      writeConflist({ type: 'tunlinkk' })
      return writeConflist
    },
  },
  'a conflist that is no object': {
    check: 'conflist',
    text: /10-tunlink\.conflist: it is no JSON object/,
    plant: () => {
      writeFileSync(conflist, 'null')
      return writeConflist
    },
  },
  'a FIFO, which nobody writes to': {
    check: 'conflist',
    text: /05-other\.conf: it is no regular file/,
    plant: () => {
      execFileSync('mkfifo', [join(confDir, '05-other.conf')])
      return () => rmSync(join(confDir, '05-other.conf'))
    },
  },
  'a conflist with a plugin that is no object': {
    check: 'conflist',
    text: /10-tunlink\.conflist: plugins\[0\] is no JSON object/,
    plant: () => {
      writeFileSync(conflist, '{"plugins": [null]}')
      return writeConflist
    },
  },
  'a network without addresses': {
    check: 'conflist',
    level: 'warning',
    text: /"ipam" is missing: an ADD fails/,
    also: ['leases'],
    plant: () => {
      writeConflist({ ipam: undefined })
      return writeConflist
    },
  },
  'a misspelled key': {
    check: 'conflist',
    level: 'warning',
    text: /10-tunlink\.conflist: unknown key "ipMask": did you mean "ipMasq"\?/,
    plant: () => {
      writeConflist({ ipMask: true })
      return writeConflist
    },
  },
  'a wrong value in the conflist': {
    check: 'conflist',
    text: /"mtu" must be an integer from 68 to 65535, not "1400"/,
    plant: () => {
      writeConflist({ mtu: '1400' })
      return writeConflist
    },
  },
  'another network that sorts before': {
    check: 'order',
    text: /05-other\.conf .* sorts before 10-tunlink\.conflist/,
    plant: () => {
      writeFileSync(join(confDir, '05-other.conf'), '{"cniVersion":"1.0.0","name":"other","type":"bridge"}')
      return () => unlinkSync(join(confDir, '05-other.conf'))
    },
  },
  'no executable': {
    check: 'executable',
    text: /bin\/tunlink is missing/,
    plant: () => {
      renameSync(join(binDir, 'tunlink'), join(root, 'tunlink'))
      return () => renameSync(join(root, 'tunlink'), join(binDir, 'tunlink'))
    },
  },
  'a chained plugin that is missing': {
    check: 'chained plugins',
    text: /"portmap" of 10-tunlink\.conflist is missing/,
    plant: () => {
      unlinkSync(portmap)
      return () => writePortmap('1.0.0', '1.1.0')
    },
  },
  'a chained plugin that is too old': {
    check: 'chained plugins',
    text: /"portmap" of 10-tunlink\.conflist does not speak CNI 1\.1\.0, only 0\.4\.0, 1\.0\.0/,
    plant: () => {
      writePortmap('0.4.0', '1.0.0')
      return () => writePortmap('1.0.0', '1.1.0')
    },
  },
  'a directory that others may write to': {
    check: 'directory',
    text: /its mode is 777/,
    plant: () => {
      chmodSync(lab.dataDir, 0o777)
      return () => chmodSync(lab.dataDir, 0o700)
    },
  },
  'a record that is cut short': {
    check: 'records',
    text: /links\/net\/gone:eth0\.json cannot be used: it is empty/,
    plant: () => {
      const file = `${lab.dataDir}/links/net/gone:eth0.json`
      writeFileSync(file, '')
      return () => unlinkSync(file)
    },
  },
  'a route of a pod that is missing': {
    check: 'links',
    text: /: route 0\.0\.0\.0\/0 via \S+ dev eth0 is missing/,
    plant: () => {
      const [{ gateway }] = ip(pod, 'route', 'show', 'default')
      ip(pod, 'route', 'delete', 'default')
      return () => void ip(pod, 'route', 'add', 'default', 'via', gateway, 'dev', 'eth0')
    },
  },
  'a lease without a link': {
    check: 'leases',
    level: 'warning',
    text: /is leased to ghost eth0 in "net", which has no link/,
    plant: () => {
      const file = `${lab.dataDir}/ipam/net/.owners/ghost:eth0`
      writeFileSync(file, '{"containerID":"ghost","ifname":"eth0"}\n')
      utimesSync(file, 0, 0)
      return () => unlinkSync(file)
    },
  },
  'a pool that has no address left': {
    check: 'leases',
    text: /1 of 1 leases of a range of "net" are taken: the next pod gets no address/,
    plant: () => {
      writeConflist({ ipam: { type: 'tunlink', subnet: '10.66.0.0/24', rangeStart: leased(), rangeEnd: leased() } })
      return writeConflist
    },
  },
}

test('a node that is well has no fault and no warning, and loses nothing by being looked at', () => {
  const before = execFileSync('find', [lab.dataDir, confDir, binDir], { encoding: 'utf8' })
  assert.equal(doctor(), { status: 0, found: [] })
  assert.is(execFileSync('find', [lab.dataDir, confDir, binDir], { encoding: 'utf8' }), before)
})

for (const [name, { check, level = 'fault', text, also = [], wrapper, plant }] of Object.entries(FAULTS))
  test(`it finds ${name}, and nothing else`, () => {
    const undo = plant()
    try {
      const { status, found } = doctor(wrapper)
      const planted = found.filter(finding => finding.check === check && finding.level === level && text.test(finding.text))
      assert.is(planted.length, 1, JSON.stringify(found, null, 2))
      assert.ok(planted[0]!.mend !== '')
      const others = found.filter(finding => ![check, ...also].includes(finding.check))
      assert.equal(others, [])
      assert.is(status, level === 'fault' ? 1 : 0)
    } finally {
      undo()
    }
  })

test('it finds a thread wire that no agent carries, and the firewall that none restores', async () => {
  const other = lab.netns()
  lab.must('ADD', other, { agent: AGENT, wire: 'thread' })
  process.kill(lab.agentPid()!, 'SIGKILL')
  await eventually('the agent has ended', () => lab.agentPid() === undefined)
  node('nft', 'delete table inet tunlink')
  const { status, found } = doctor()
  assert.is(status, 1)
  const has = (check: string, text: RegExp) =>
    assert.ok(
      found.some(finding => finding.check === check && text.test(finding.text)),
      JSON.stringify(found),
    )
  has('agent', /no agent answers .*1 thread wires are on record/)
  has('links', /no agent answers .* carries nothing/)
  has('source checks', /the nftables table inet tunlink is missing \(2 links\)/)
  lab.must('STATUS', other, { agent: AGENT })
  lab.must('DEL', other)
})

test('once all is mended, it is well again; its text has a line for each check', () => {
  const { status, stdout } = tunlink(lab, ['doctor', '--conf-dir', confDir, '--bin-dir', binDir])
  assert.is(status, 0, stdout)
  const lines = stdout.trim().split('\n')
  assert.ok(lines.length >= 16)
  for (const line of lines) assert.match(line, /^ok {7}\S/)
})

test.run()
