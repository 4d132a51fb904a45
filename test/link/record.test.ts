/** Records on disk: what is written is found again, and one that is bad hides no other. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { CniError } from '../../src/cni/error.ts'
import type { LinkPlan } from '../../src/link/plan.ts'
import {
  type BrokenRecord,
  isBroken,
  recordCollect,
  recordFile,
  recordList,
  recordRead,
  recordRemove,
  recordSetAside,
  recordWrite,
  refuseUnreadable,
} from '../../src/link/record.ts'

const test = suite<{ dataDir: string; links: string }>('records')

const plan = (containerID: string, network = 'net'): LinkPlan => ({
  version: 2,
  network,
  containerID,
  ifname: 'eth0',
  farEnd: 'attach',
  netns: `/run/netns/${containerID}`,
  mtu: 1500,
  multiQueue: false,
  pod: { ifname: 'eth0', addresses: [{ local: '10.66.0.2', prefix: 32 }], routes: [] },
  masquerade: [],
})
const broken = (record: LinkPlan | BrokenRecord | undefined): BrokenRecord => {
  assert.ok(record !== undefined && isBroken(record))
  return record as BrokenRecord
}

test.before.each(context => {
  context.dataDir = mkdtempSync(join(tmpdir(), 'tunlink-test-'))
  context.links = join(context.dataDir, 'links/net')
})
test.after.each(({ dataDir }) => rmSync(dataDir, { recursive: true }))

test('what was written is read, for its owner alone, and nothing else lies beside it', ({ dataDir, links }) => {
  recordWrite(dataDir, plan('c1'))
  recordWrite(dataDir, { ...plan('c1'), mtu: 1400 })
  assert.equal(recordRead(dataDir, plan('c1')), { ...plan('c1'), mtu: 1400 })
  assert.equal(readdirSync(links), ['c1:eth0.json'])
  assert.is(statSync(join(links, 'c1:eth0.json')).mode & 0o777, 0o600)
  assert.is(statSync(links).mode & 0o777, 0o700)
})

test('what could not be read again is not written', ({ dataDir, links }) => {
  const routes = Array.from({ length: 30_000 }, () => ({ dst: '10.0.0.0/8', gw: '10.66.0.1' }))
  for (const [wrong, why] of [
    [{ netns: 'netns/c1' }, /could not be read again: "netns" is "netns\/c1"/],
    [{ masquerade: ['10.66.0.3'] }, /"masquerade" has "10.66.0.3"/],
    [{ pod: { ...plan('c1').pod, routes } }, /it has \d+ bytes, more than 1048576/],
  ] as const) {
    try {
      recordWrite(dataDir, { ...plan('c1'), ...wrong } as LinkPlan)
      assert.unreachable()
    } catch (error) {
      assert.instance(error, CniError)
      assert.is((error as CniError).code, 7)
      assert.match((error as CniError).message, why)
    }
  }
  assert.not.ok(existsSync(links))
})

test('what is not there is undefined, and removing it is no error', ({ dataDir }) => {
  assert.is(recordRead(dataDir, plan('c1')), undefined)
  recordRemove(dataDir, plan('c1'))
  assert.equal(recordList(dataDir), { plans: [], broken: [] })
})

test('a name that is too long for a file becomes its hash, another for each', () => {
  const long = (end: string) => recordFile({ containerID: `${'c'.repeat(300)}${end}`, ifname: 'eth0' })
  assert.ok(long('1').length <= 255)
  assert.is.not(long('1'), long('2'))
})

test('recordList() has all networks, or one; broken records are beside the good ones', ({ dataDir, links }) => {
  recordWrite(dataDir, plan('c1'))
  recordWrite(dataDir, plan('c2', 'other'))
  writeFileSync(join(links, 'c3:eth0.json'), '{')
  const containers = (network?: string) => recordList(dataDir, network).plans.map(({ containerID }) => containerID)
  assert.equal([containers().sort(), containers('net'), containers('absent')], [['c1', 'c2'], ['c1'], []])
  const [record] = recordList(dataDir).broken
  assert.equal(record?.attachment, { network: 'net', containerID: 'c3', ifname: 'eth0' })
  assert.match(record?.reason ?? '', /^it is not JSON: /)
})

test('a record about another attachment than its name says is broken', ({ dataDir, links }) => {
  recordWrite(dataDir, plan('c1'))
  writeFileSync(join(links, 'c2:eth0.json'), readFileSync(join(links, 'c1:eth0.json')))
  assert.is(broken(recordRead(dataDir, plan('c2'))).reason, 'it is about "net c1 eth0"')
})

test('a record of a newer version is one that is newer', ({ dataDir, links }) => {
  mkdirSync(links, { recursive: true })
  writeFileSync(join(links, 'c1:eth0.json'), JSON.stringify({ ...plan('c1'), version: 3 }))
  const { isNewer, isUnreadable } = broken(recordRead(dataDir, plan('c1')))
  assert.equal([isNewer, isUnreadable], [true, false])
})

test('a symbolic link or a directory is broken for good; recordRemove() takes it, not what it leads to', ({ dataDir, links }) => {
  mkdirSync(join(links, 'c2:eth0.json/inside'), { recursive: true })
  writeFileSync(join(dataDir, 'elsewhere'), 'kept')
  symlinkSync(join(dataDir, 'elsewhere'), join(links, 'c1:eth0.json'))
  for (const id of ['c1', 'c2']) {
    const record = broken(recordRead(dataDir, plan(id)))
    assert.is(record.isUnreadable, false, record.reason)
    refuseUnreadable(record)
    recordRemove(dataDir, plan(id))
  }
  assert.equal([readdirSync(links), readFileSync(join(dataDir, 'elsewhere'), 'utf8')], [[], 'kept'])
})

test('refuseUnreadable() asks to try again, as the record may be a good one', () => {
  const record: BrokenRecord = { file: '/x', network: 'net', reason: 'EMFILE', isUnreadable: true, isNewer: false }
  assert.throws(
    () => refuseUnreadable(record),
    (error: unknown) => error instanceof CniError && error.code === 11 && error.message === 'Cannot read the record /x: EMFILE',
  )
  refuseUnreadable(undefined)
  refuseUnreadable(plan('c1'))
})

test('recordCollect() removes what a killed writer has left, and recordSetAside() keeps a record for a look', ({ dataDir, links }) => {
  recordWrite(dataDir, plan('c1'))
  writeFileSync(join(links, 'c2:eth0.json.tmp'), '{')
  writeFileSync(join(links, 'c3.json'), '{')
  recordCollect(dataDir, 'net')
  for (const record of recordList(dataDir).broken) recordSetAside(record)
  assert.equal(readdirSync(links).sort(), ['c1:eth0.json', 'c3.json.broken'])
  assert.equal(
    recordList(dataDir).broken.map(({ file }) => basename(file)),
    [],
  )
})

test('a writer that fails leaves no file of its own, and the record that was there', ({ dataDir, links }) => {
  recordWrite(dataDir, plan('c1'))
  mkdirSync(join(links, 'c1:eth0.json.tmp'))
  assert.throws(() => recordWrite(dataDir, { ...plan('c1'), mtu: 1400 }), /EISDIR/)
  assert.equal(readdirSync(links), ['c1:eth0.json'])
  assert.equal(recordRead(dataDir, plan('c1')), plan('c1'))
})

test.run()
