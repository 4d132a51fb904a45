/** Records and leases that a full disk, a power cut, another program or an editor has left. */
import { execFileSync } from 'node:child_process'
import { linkSync, mkdirSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import fc from 'fast-check'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { CniError } from '../../src/cni/error.ts'
import { acquire, collect, leaseOf, release } from '../../src/ipam/lease.ts'
import { parseIpam } from '../../src/ipam/pool.ts'
import { readResolvConf } from '../../src/ipam/resolv-conf.ts'
import { isBroken, recordCollect, recordFile, recordList, recordRead, recordRemove, recordWrite } from '../../src/link/record.ts'
import { inDirectory } from '../directory.ts'
import { cases } from './cases.ts'
import { damaged, runs, text, value } from './garbage.ts'
import { RECORDS } from './good.ts'

const test = suite('bad input on disk')

/** What may lie under a name: each is put there by a function that gets the path. */
type Thing = [string, (path: string) => void]

const things: fc.Arbitrary<Thing> = fc.oneof(
  {
    weight: 6,
    arbitrary: text(fc.oneof(damaged(...RECORDS), value)).map((content): Thing => ['file', path => writeFileSync(path, content)]),
  },
  {
    weight: 3,
    arbitrary: fc.constantFrom<Thing>(
      ['directory', path => mkdirSync(path)],
      ['fifo', path => void execFileSync('mkfifo', [path])],
      ['dangling link', path => symlinkSync('/nonexistent', path)],
      ['link to a device', path => symlinkSync('/dev/zero', path)],
      [
        'huge file',
        path => {
          writeFileSync(path, '')
          truncateSync(path, 2 ** 40)
        },
      ],
    ),
  },
)

const name = fc.constantFrom(
  'c1:eth0',
  'c2:eth0',
  ':',
  'c1',
  '..x',
  '~',
  'x'.repeat(200),
  'é\u0001',
  '10.66.0.9',
  '10.66.0.010',
  'fd66::0',
  '.new-c1:eth0',
)

/** Puts a thing in its place; false where something is there already. */
function put(path: string, [, make]: Thing): void {
  mkdirSync(dirname(path), { recursive: true })
  rmSync(path, { recursive: true, force: true })
  make(path)
}

test('a directory of records with anything in it lists the good one, names the bad ones, and waits for nothing', () => {
  const good = { ...RECORDS[0]!, containerID: 'good', pod: RECORDS[0]!.pod }
  const attachment = { network: 'attach', containerID: 'good', ifname: 'eth0' }
  const { host, wire, ...attach } = good
  const plan = { ...attach, network: 'attach', farEnd: 'attach' as const }
  const all = fc.array(fc.tuple(fc.constantFrom('attach', 'net'), name, fc.constantFrom('.json', '.json.tmp', ''), things), {
    maxLength: 4,
  })
  cases('records on disk', runs(60, 2_000), all, list =>
    inDirectory(dataDir => {
      for (const [network, file, suffix, thing] of list) put(`${dataDir}/links/${network}/${file.slice(0, 180)}${suffix}`, thing)
      recordWrite(dataDir, plan)
      assert.ok(recordList(dataDir).plans.some(({ containerID }) => containerID === 'good'))
      const of = { network: 'net', containerID: 'c1', ifname: 'eth0' }
      const record = recordRead(dataDir, of)
      if (record !== undefined && isBroken(record)) assert.ok(record.reason !== '' && record.file.endsWith(recordFile(of)))
      recordRemove(dataDir, of)
      assert.is(recordRead(dataDir, of), undefined)
      recordCollect(dataDir, 'attach')
      recordRemove(dataDir, attachment)
    }),
  )
})

test('a directory of leases with anything in it gives an address that is free, or says why not', () => {
  const pool = parseIpam({ type: 'tunlink', subnet: '10.66.0.0/28' })
  const owner = { containerID: 'c1', ifname: 'eth0' }
  const all = fc.array(fc.tuple(fc.constantFrom('.owners/', ''), name, things), { maxLength: 4 })
  cases('leases on disk', runs(60, 2_000), all, list =>
    inDirectory(dataDir => {
      const directory = `${dataDir}/ipam/net`
      for (const [part, file, thing] of list) put(`${directory}/${part}${file.slice(0, 180)}`, thing)
      const attempt = <T>(body: () => T): T | undefined => {
        try {
          return body()
        } catch (error) {
          assert.instance(error, CniError, String((error as Error).stack))
          assert.ok([4, 5, 100].includes((error as CniError).code), (error as Error).message)
          return undefined
        }
      }
      attempt(() => leaseOf(dataDir, 'net', owner))
      attempt(() => release(dataDir, 'net', owner))
      const lease = attempt(() => acquire(dataDir, 'net', owner, pool, []))
      if (lease !== undefined)
        assert.throws(() => linkSync('/proc/self/stat', `${directory}/${lease.ips[0]!.address.split('/')[0]}`), /EEXIST|EXDEV/)
      if (lease !== undefined) assert.equal(leaseOf(dataDir, 'net', owner)?.length, 1)
      attempt(() => collect(dataDir, 'net', []))
      if (lease !== undefined)
        assert.is(
          attempt(() => leaseOf(dataDir, 'net', owner)),
          undefined,
        )
    }),
  )
})

test('"resolvConf" that is a FIFO, a device, a directory or huge is refused with code 7', () => {
  inDirectory(dataDir => {
    const fifo = join(dataDir, 'fifo')
    const huge = join(dataDir, 'huge')
    execFileSync('mkfifo', [fifo])
    writeFileSync(huge, '')
    truncateSync(huge, 2 ** 40)
    for (const path of [fifo, huge, '/dev/zero', '/dev/tty', dataDir, '/nonexistent', 'a\0b', '/proc/self/mem', 5, ['/etc/resolv.conf']]) {
      try {
        readResolvConf(path)
        assert.unreachable(String(path))
      } catch (error) {
        assert.is((error as CniError).code, 7, String(error))
      }
    }
    assert.type(readResolvConf('/proc/self/status'), 'object')
  })
})

test.run()
