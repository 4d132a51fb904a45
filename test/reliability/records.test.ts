/**
 * What tunlink believes of its files, and of devices: symbolic links, pipes, records edited by
 * hand, names without our alias. See SECURITY.md.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { addressPart, hostCidr } from '../../src/address.ts'
import type { LinkPlan } from '../../src/link/plan.ts'
import { eventually, inside, ip, type Lab, pings } from '../support.ts'
import { alone, callBeside, dual, inLab, listen } from './inside-lab.ts'

const test = suite('records')

test('symbolic links in the place of its files are never followed: what they lead to stays as it was', () =>
  inLab(async lab => {
    const [one, two, three] = [lab.netns(), lab.netns(), lab.netns()]
    lab.must('ADD', one, alone)
    const outside = join(lab.dataDir, 'outside')
    mkdirSync(outside)
    const record = (pod: string) => join(lab.dataDir, `links/net/${pod}:eth0.json`)
    const owner = (pod: string) => join(lab.dataDir, `ipam/net/.owners/${pod}:eth0`)
    const prey = (name: string) => {
      writeFileSync(join(outside, name), 'prey\n')
      return join(outside, name)
    }
    for (const file of ['agent.log', 'agent.lock']) symlinkSync(prey(file), join(lab.dataDir, file))
    const impostor = await listen(join(outside, 'socket'))
    symlinkSync(join(outside, 'socket'), join(lab.dataDir, 'agent.sock'))
    // The record of the link itself, of one that comes, and what a writer that was killed has left.
    renameSync(record(one), join(outside, 'record'))
    const whole = readFileSync(join(outside, 'record'), 'utf8')
    symlinkSync(join(outside, 'record'), record(one))
    symlinkSync(prey('draft'), `${record(two)}.tmp`)
    symlinkSync(prey('owner'), owner(three))
    const broken = await callBeside(lab, 'CHECK', one, {
      ...alone,
      prevResult: { cniVersion: '1.1.0', interfaces: [{ name: 'eth0', sandbox: `/run/netns/${one}` }] },
    })
    assert.match(broken.json.msg, /the record .* cannot be used: ELOOP/)
    assert.is((await callBeside(lab, 'ADD', two, alone)).status, 1)
    rmSync(`${record(two)}.tmp`, { force: true })
    // A lock that is a symbolic link starts no agent; links are made all the same.
    assert.is((await callBeside(lab, 'ADD', three, { ...dual, wire: 'kernel' })).status, 0)
    for (const pod of [one, two, three]) assert.is((await callBeside(lab, 'DEL', pod, alone)).status, 0)
    assert.is((await callBeside(lab, 'GC', one, { ...alone, 'cni.dev/valid-attachments': [] })).status, 0)
    impostor.close()
    assert.is(impostor.asked(), 0, 'nobody is asked by a symbolic link')
    assert.is(readFileSync(join(outside, 'record'), 'utf8'), whole)
    for (const name of ['agent.log', 'agent.lock', 'draft', 'owner']) assert.is(readFileSync(join(outside, name), 'utf8'), 'prey\n', name)
    assert.equal([...lab.links(one), ...lab.links(two), ...lab.links(three), ...lab.links(lab.node), ...lab.files()], [])
  }))

test('a record whose namespace nobody can look at: the other links have their agent, and it is removed like any other', () =>
  inLab(async lab => {
    const [one, two, three] = [lab.netns(), lab.netns(), lab.netns()]
    const thread = { ...dual, wire: 'thread', agent: { idleSeconds: 60 } }
    for (const pod of [one, two, three]) lab.must('ADD', pod, thread)
    process.kill(lab.agentPid()!, 'SIGKILL')
    await eventually('the agent has ended', () => lab.agentPid() === undefined)
    const loop = join(lab.dataDir, 'loop')
    symlinkSync(loop, loop)
    for (const [pod, netns] of [
      [one, `/${'x'.repeat(300)}`],
      [two, loop],
    ] as const) {
      const record = join(lab.dataDir, `links/net/${pod}:eth0.json`)
      writeFileSync(record, JSON.stringify({ ...JSON.parse(readFileSync(record, 'utf8')), netns }))
    }
    lab.cni('STATUS', three, thread)
    assert.ok(pings(three, '10.66.0.1'), 'the agent has taken up what it can')
    lab.must('DEL', one, thread)
    lab.must('GC', three, { ...thread, 'cni.dev/valid-attachments': [{ containerID: three, ifname: 'eth0' }] })
    assert.is(lab.files().filter(name => name.startsWith(one) || name.startsWith(two)).length, 0)
    assert.ok(pings(three, '10.66.0.1'))
    lab.must('DEL', three, thread)
  }))

test('a namespace that is named by a relative path: CHECK, the firewall and DEL know the link', () =>
  inLab(lab => {
    const pod = lab.netns()
    lab.wrapper = ['sh', '-c', 'cd /run && exec "$@"', '-']
    const env = { CNI_NETNS: `netns/${pod}` }
    const added = lab.must('ADD', pod, alone, env).json
    assert.is(added.interfaces[1].sandbox, `/run/netns/${pod}`)
    inside(lab.node, 'nft', 'flush', 'ruleset')
    lab.must('ADD', lab.netns(), alone) // makes the table anew, for all links on record
    lab.must('CHECK', pod, { ...alone, prevResult: added }, env)
    lab.must('DEL', pod, alone, env)
    assert.equal(lab.links(pod), [])
  }))

test('pipes in the place of its files, or of the namespace, keep no call waiting', () =>
  inLab(lab => {
    const pod = lab.netns()
    lab.must('ADD', pod, alone)
    const pipe = (path: string) => {
      rmSync(path, { force: true })
      execFileSync('mkfifo', [path])
      return path
    }
    for (const file of ['agent.log', 'agent.lock', 'agent.sock', `links/net/${pod}:eth0.json`, `links/net/other:eth0.json.tmp`])
      pipe(join(lab.dataDir, file))
    const bounded = (command: string, env: object, conf: object) => {
      lab.wrapper = ['timeout', '20']
      const { status } = lab.cni(command, pod, conf, env as Record<string, string>)
      lab.wrapper = []
      assert.is.not(status, 124, `${command} ends`)
      return status
    }
    const netns = pipe(join(lab.dataDir, 'netns'))
    assert.is(bounded('ADD', { CNI_CONTAINERID: 'other', CNI_NETNS: netns }, alone), 1)
    assert.is(bounded('DEL', { CNI_CONTAINERID: 'other', CNI_NETNS: netns }, alone), 0)
    bounded('ADD', { CNI_CONTAINERID: 'other', CNI_IFNAME: 'eth1' }, dual)
    bounded('STATUS', {}, dual)
    assert.is(bounded('DEL', { CNI_CONTAINERID: 'other', CNI_IFNAME: 'eth1' }, alone), 0)
    assert.is(bounded('DEL', {}, alone), 0)
    assert.equal([...lab.links(pod), ...lab.links(lab.node)], [])
  }))

const recordOf = (lab: Lab, pod: string) => join(lab.dataDir, `links/net/${pod}:eth0.json`)
const readRecord = (lab: Lab, pod: string) => JSON.parse(readFileSync(recordOf(lab, pod), 'utf8'))

const localsOf = ({ pod }: LinkPlan) => pod.addresses.map(({ local }) => local)
const addressesOf = ({ ips }: { ips: { address: string }[] }) => ips.map(({ address }) => addressPart(address))

/** What the kernel masquerades, IPv4 first. */
const masqueraded = (lab: Lab): string[] =>
  ['masq4', 'masq6'].flatMap(
    set => JSON.parse(inside(lab.node, 'nft', '-j', 'list', 'set', 'inet', 'tunlink', set)).nftables[1].set.elem ?? [],
  )

/** Edits of one pod's record to speak about another pod. */
const EDITS: [what: string, edit: (record: LinkPlan, other: LinkPlan) => object][] = [
  ['all of the other’s', (_, other) => other],
  ['the other’s containerID', (record, { containerID }) => ({ ...record, containerID })],
  ['another network', record => ({ ...record, network: 'other' })],
  ['another ifname', record => ({ ...record, ifname: 'eth1', pod: { ...record.pod, ifname: 'eth1' } })],
  ['the other’s namespace', (record, { netns, netnsId }) => ({ ...record, netns, netnsId })],
  ['the other’s node’s end', (record, { host }) => ({ ...record, host })],
  ['the other’s masquerade', (record, { masquerade }) => ({ ...record, masquerade })],
  [
    'the other’s addresses and masquerade',
    (record, { pod, masquerade }) => ({ ...record, pod: { ...record.pod, addresses: pod.addresses }, masquerade }),
  ],
  [
    'all that the other’s ends have',
    (record, { pod, host, masquerade }) => ({ ...record, pod, host: { ...host, ifname: record.host!.ifname }, masquerade }),
  ],
  ['the other’s addresses on the node’s end', (record, { host }) => ({ ...record, host: { ...record.host, addresses: host!.addresses } })],
  [
    'routes to the other on the node’s end',
    (record, { masquerade }) => ({ ...record, host: { ...record.host, routes: masquerade.map(dst => ({ dst: hostCidr(dst) })) } }),
  ],
  ['no wire', ({ wire, ...record }) => record],
  ['a path of a namespace with dots', record => ({ ...record, netns: '/run/netns/../../etc/passwd' })],
]

test(`${EDITS.length} edits of a record take nothing from another pod, and CHECK or DEL keep their word for its own`, () =>
  inLab(lab => {
    const victim = lab.netns()
    const result = lab.must('ADD', victim, alone).json
    for (const [what, edit] of EDITS) {
      const pod = lab.netns()
      const { json } = lab.must('ADD', pod, alone)
      writeFileSync(recordOf(lab, pod), JSON.stringify(edit(readRecord(lab, pod), readRecord(lab, victim))))
      assert.is(lab.cni('CHECK', pod, { ...alone, prevResult: json }).status, 1, `CHECK says nothing of ${what}`)
      lab.must('DEL', pod, alone)
      assert.equal([lab.links(pod), lab.links(lab.node)], [[], [result.interfaces[0].name]], what)
      assert.equal(masqueraded(lab), addressesOf(result), what)
      lab.must('CHECK', victim, { ...alone, prevResult: result })
    }
    assert.ok(pings(victim, '10.66.0.1') && pings(victim, 'fd66::1'))
  }))

test('the table made anew from a record with another pod’s addresses has its own pod’s, by the lease', () =>
  inLab(lab => {
    const [pod, other] = [lab.netns(), lab.netns()]
    const own = lab.must('ADD', pod, alone).json
    const quiet = { ...alone, ipMasq: false }
    lab.must('ADD', other, quiet)
    const [record, others] = [pod, other].map(name => readRecord(lab, name))
    writeFileSync(recordOf(lab, pod), JSON.stringify({ ...record, pod: others.pod, masquerade: localsOf(others) }))
    inside(lab.node, 'nft', 'flush', 'ruleset')
    lab.must('ADD', lab.netns(), quiet)
    assert.equal(masqueraded(lab), addressesOf(own))
    lab.must('DEL', pod, alone)
    assert.equal(masqueraded(lab), [])
  }))

test('without a lease, DEL by a record with another pod’s addresses leaves that pod its masquerading', () =>
  inLab(lab => {
    const [victim, pod] = [lab.netns(), lab.netns()]
    const asking = (...ips: string[]) => ({ ...alone, ipam: undefined, runtimeConfig: { ips } })
    const { json } = lab.must('ADD', victim, asking('10.66.0.5', 'fd66::5'))
    lab.must('ADD', pod, asking('10.66.0.6', 'fd66::6'))
    const edited = { ...readRecord(lab, pod), pod: readRecord(lab, victim).pod, masquerade: ['10.66.0.5', 'fd66:0::5', 'fd66::6'] }
    edited.pod.addresses = edited.masquerade.map((local: string) => ({ local, prefix: 32 }))
    writeFileSync(recordOf(lab, pod), JSON.stringify(edited))
    lab.must('DEL', pod, asking())
    assert.equal(masqueraded(lab), ['10.66.0.5', '10.66.0.6', 'fd66::5'])
    lab.must('CHECK', victim, { ...asking(), prevResult: json })
    lab.must('DEL', victim, asking())
    assert.equal(masqueraded(lab), ['10.66.0.6'])
  }))

test('a device under our name without our alias is never deleted, in the pod or on the node', () =>
  inLab(lab => {
    const pod = lab.netns()
    const { json } = lab.must('ADD', pod, alone)
    const node = json.interfaces[0].name
    for (const [netns, name, alias] of [
      [pod, 'eth0', undefined],
      [pod, 'eth0', `tunlink:net/${pod}/eth1`],
      [lab.node, node, undefined],
      [lab.node, node, `tunlink:net/other/eth0`],
    ] as const) {
      lab.must('DEL', pod, alone)
      lab.must('ADD', pod, alone)
      spawnSync('ip', ['-n', netns, 'link', 'del', name])
      inside(netns, 'ip', 'tuntap', 'add', name, 'mode', 'tun')
      if (alias !== undefined) inside(netns, 'ip', 'link', 'set', name, 'alias', alias)
      lab.must('DEL', pod, alone)
      lab.must('GC', pod, { ...alone, 'cni.dev/valid-attachments': [] })
      assert.ok(lab.links(netns).includes(name), `${name} with the alias ${alias} is there`)
      assert.is(ip(netns, 'link', 'show', 'dev', name)[0].ifalias, alias)
      inside(netns, 'ip', 'link', 'del', name)
    }
  }))

test.run()
