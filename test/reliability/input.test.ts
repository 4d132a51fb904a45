/**
 * Whatever a runtime, an administrator, an IPAM plugin or a disk gives: each function that reads it
 * throws the error that it documents or returns what the rest of the program can rely on.
 */
import fc from 'fast-check'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { parseCidr } from '../../src/address.ts'
import { parseLease } from '../../src/cni/delegate.ts'
import { type Environment, parseEnvironment } from '../../src/cni/environment.ts'
import { CniError, toErrorJson } from '../../src/cni/error.ts'
import { parseObject } from '../../src/cni/json.ts'
import { parseIpamConf, parseNetConf } from '../../src/cni/netconf.ts'
import { parseResult, printResult } from '../../src/cni/result.ts'
import { SUPPORTED } from '../../src/cni/version.ts'
import { parseIpam } from '../../src/ipam/pool.ts'
import { parseResolvConf } from '../../src/ipam/resolv-conf.ts'
import { planLink } from '../../src/link/plan.ts'
import { parseRecord } from '../../src/link/record-format.ts'
import { nodeInfo } from '../../src/node/node-info.ts'
import { cases } from './cases.ts'
import { damaged, nestedJson, runs, text, value } from './garbage.ts'
import { CONFIGURATIONS, IPAM_RESULTS, NODES, PREV_RESULT, RECORDS } from './good.ts'

const test = suite('bad input')

const ENVIRONMENT: Environment = { command: 'ADD', containerID: 'c', netns: '/n', ifname: 'eth0', args: '', path: [], netnsOverride: false }
const COMMANDS = ['ADD', 'DEL', 'CHECK', 'GC', 'STATUS', 'VERSION'] as const

/**
 * What `body` returns; undefined after a CniError with one of `codes`, which a runtime can read.
 */
function refusedOr<T>(codes: number[], body: () => T): T | undefined {
  try {
    return body()
  } catch (error) {
    if (!(error instanceof CniError)) throw error
    assert.ok(codes.includes(error.code), `code ${error.code}: ${error.message}`)
    const { msg } = JSON.parse(JSON.stringify(toErrorJson(error, '1.1.0')))
    assert.ok(msg !== '' && !/\bundefined\b|\[object|Cannot (read|destructure)|is not a function/.test(msg), msg)
    assert.ok(msg.length < 3_000)
    return undefined
  }
}

const variable = fc.option(fc.oneof(fc.constantFrom(...COMMANDS, 'eth0', 'c1', '/run/netns/x', '', 'a:b', 'x'.repeat(300)), fc.string()), {
  nil: undefined,
})

test('the environment', () => {
  const names = ['CNI_COMMAND', 'CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME', 'CNI_PATH', 'CNI_ARGS', 'CNI_NETNS_OVERRIDE'] as const
  const environments = fc.tuple(fc.constantFrom(...COMMANDS), ...names.map(() => variable)).map(([command, ...values]) => ({
    ...Object.fromEntries(names.map((name, index) => [name, values[index]])),
    ...(values[0] === undefined ? { CNI_COMMAND: command } : {}),
  }))
  cases('environments', runs(400, 10_000), environments, env => {
    const parsed = refusedOr([4], () => parseEnvironment(env))
    if (parsed === undefined || !['ADD', 'CHECK', 'DEL'].includes(parsed.command)) return
    assert.match(parsed.containerID, /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/)
    assert.ok(Buffer.byteLength(parsed.ifname) < 16 && !/[/\s:%\0]/.test(parsed.ifname))
  })
})

test('configurations of each verb', () => {
  const confs = fc.tuple(
    text(fc.oneof(damaged(...CONFIGURATIONS), value)),
    fc.constantFrom(...COMMANDS),
    fc.constantFrom('', 'IP=10.0.0.9', '__proto__=1', ';;=', 'MAC='),
  )
  cases('configurations', runs(1_000, 35_000), confs, ([stdin, command, args]) => {
    const environment: Environment = { ...ENVIRONMENT, command, args }
    const conf = refusedOr([1, 2, 4, 6, 7], () => parseNetConf(stdin, environment))
    refusedOr([1, 4, 6, 7], () => parseIpamConf(stdin, environment))
    if (conf === undefined) return
    assert.match(conf.name, /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}$/)
    assert.ok(conf.dataDir.startsWith('/') && !conf.dataDir.includes('\0') && conf.dataDir.length <= 96)
    assert.ok(conf.mtu === undefined || (Number.isInteger(conf.mtu) && conf.mtu >= 68 && conf.mtu <= 65535))
    assert.ok(conf.agent.idleSeconds >= 0 && conf.agent.idleSeconds <= 86_400)
    if (conf.ipam !== undefined) refusedOr([7], () => parseIpam(conf.ipam!))
  })
})

test('whatever plan an ADD would make of a configuration and an IPAM’s answer is read back as a record', () => {
  let planned = 0
  const inputs = fc.oneof(
    fc.tuple(fc.constantFrom(...CONFIGURATIONS), text(damaged(...IPAM_RESULTS))),
    fc.tuple(damaged(...CONFIGURATIONS), fc.constantFrom(...IPAM_RESULTS.map(result => JSON.stringify(result)))),
  )
  cases('answers of IPAM plugins', runs(500, 15_000), inputs, ([raw, stdout]) => {
    const conf = refusedOr([1, 2, 4, 6, 7], () => parseNetConf(JSON.stringify(raw), ENVIRONMENT))
    const lease = refusedOr([6, 7], () => parseLease('other', stdout, '1.1.0'))
    if (conf === undefined || lease === undefined) return
    const attachment = { network: conf.name, containerID: 'c', ifname: 'eth0' }
    const around = {
      netns: '/n',
      netnsId: { dev: 1, ino: 1 },
      wire: conf.farEnd === 'host' ? ('kernel' as const) : undefined,
      mtu: conf.mtu ?? 1500,
    }
    const plan = refusedOr([7], () => planLink(conf, attachment, around, lease))
    if (plan === undefined) return
    planned++
    assert.equal(parseRecord(JSON.stringify(plan)), JSON.parse(JSON.stringify(plan)))
  })
  assert.ok(planned > 10, `only ${planned} plans were made: the answers are too bad to say anything`)
})

test('results of plugins before, in every version', () => {
  const results = fc.tuple(damaged(PREV_RESULT, ...IPAM_RESULTS), fc.constantFrom(...SUPPORTED), fc.constantFrom(...SUPPORTED))
  cases('results', runs(500, 10_000), results, ([raw, from, to]) => {
    const result = refusedOr([6], () => parseResult(parseObject(JSON.stringify({ raw }), 'x').raw, from))
    if (result === undefined) return
    for (const { address } of result.ips) assert.ok(parseCidr(address) !== undefined)
    const printed = refusedOr([999], () => printResult(result, to))
    if (printed !== undefined) assert.is(JSON.parse(printed).cniVersion, to)
  })
})

test('records', () => {
  cases('records', runs(700, 15_000), text(damaged(...RECORDS)), record => {
    try {
      const plan = parseRecord(record)
      for (const { local } of plan.pod.addresses) assert.ok(parseCidr(`${local}/0`) !== undefined)
    } catch (error) {
      assert.instance(error, SyntaxError)
      assert.ok((error as Error).message.length < 1_000)
    }
  })
  for (const record of RECORDS) parseRecord(JSON.stringify(record))
})

test('Nodes of the API', () => {
  cases('Nodes', runs(500, 5_000), fc.oneof(damaged(...NODES), value), node => {
    const { name, podCIDRs, internalIPs, conditions } = nodeInfo(node as object)
    assert.type(name, 'string')
    for (const cidr of podCIDRs) assert.ok(parseCidr(cidr) !== undefined, cidr)
    for (const address of internalIPs) assert.ok(parseCidr(`${address}/0`) !== undefined, address)
    assert.ok(Object.keys(conditions ?? {}).every(type => ['NetworkUnavailable', 'TunlinkRoutesReady'].includes(type)))
  })
})

test('resolv.conf', () => {
  const lines = fc.array(fc.oneof(fc.constantFrom('nameserver 10.0.0.1', 'search a b', 'options x', 'domain', '#', ';', '\t'), fc.string()))
  cases('resolv.conf', runs(200, 3_000), lines, all => {
    const { nameservers = [], search = [], options = [] } = parseResolvConf(all.join('\n'))
    for (const item of [...nameservers, ...search, ...options]) assert.ok(item !== '' && !/\s/.test(item))
  })
})

test('large input costs what its size says, not the square of it', () => {
  const ranges = Array.from({ length: 30_000 }, () => [{ subnet: '10.0.0.0/24' }])
  refusedOr([7], () => assert.unreachable(JSON.stringify(parseIpam({ type: 'tunlink', ranges }).dns)))
  refusedOr([7], () => assert.unreachable(JSON.stringify(parseIpam({ subnet: '10.0.0.0/8', exclude: ranges.map(() => '10.0.0.9') }).dns)))
  const dns = parseResolvConf('nameserver 10.0.0.1\n'.repeat(60_000))
  assert.is(dns.nameservers?.length, 60_000)
})

test('a configuration that is nested as deep as nobody can have meant is refused in words', () => {
  for (const levels of [200, 5_000, 400_000]) {
    for (const stdin of [
      nestedJson(levels),
      `{"name":"n","mtu":${nestedJson(levels)}}`,
      `{"name":"n","prevResult":{"a":null,"ips":${nestedJson(levels)}}}`,
    ]) {
      try {
        parseNetConf(stdin, ENVIRONMENT)
        assert.unreachable()
      } catch (error) {
        assert.instance(error, CniError)
        assert.is((error as CniError).code, 6)
      }
    }
  }
})

test('an error is never longer than a runtime’s log wants it, nor its code one that Go cannot read', () => {
  const long = new CniError(7, 'x'.repeat(1 << 20), 'y'.repeat(1 << 20))
  assert.ok(JSON.stringify(toErrorJson(long, '1.1.0')).length < 11_000)
})

test.run()
