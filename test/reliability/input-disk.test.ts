/** Records and leases that a full disk, a power cut, another program or an editor has left. */
import { execFileSync } from 'node:child_process'
import { existsSync, linkSync, lstatSync, mkdirSync, readdirSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import fc from 'fast-check'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { CniError } from '../../src/cni/error.ts'
import { acquire, collect, type Lease, leaseList, leaseOf, leaseOwner, release } from '../../src/ipam/lease.ts'
import { isAddressName, type Owner } from '../../src/ipam/owner-file.ts'
import { parseIpam } from '../../src/ipam/pool.ts'
import { readResolvConf } from '../../src/ipam/resolv-conf.ts'
import { isBroken, recordCollect, recordFile, recordList, recordRead, recordRemove, recordWrite } from '../../src/link/record.ts'
import { inDirectory } from '../directory.ts'
import { cases } from './cases.ts'
import { damaged, runs, text, value } from './garbage.ts'
import { OWNERS, RECORDS } from './good.ts'

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

/** A file of an owner: its content, and the addresses that are hard links to it. */
interface OwnerFile {
  name: string
  content: string
  held: string[]
}

const POOL = parseIpam({ type: 'tunlink', subnet: '10.66.0.0/28' })
/** Some of the pool, and one that another pool has given before. */
const addresses = fc.constantFrom('10.66.0.2', '10.66.0.3', '10.66.0.9', '10.66.0.14', 'fd66::2')

/** Lines of owner files, some damaged: cut, twice, empty, of an editor, no addresses. */
const ownerFiles: fc.Arbitrary<OwnerFile[]> = fc.uniqueArray(
  fc
    .record({
      name: fc.constantFrom('c1:eth0', 'c2:eth0', 'c3:eth0'),
      first: fc.oneof({ weight: 2, arbitrary: fc.constantFrom(...OWNERS.map(owner => JSON.stringify(owner))) }, text(damaged(...OWNERS))),
      lines: fc.array(
        fc.oneof({ weight: 3, arbitrary: addresses }, fc.constantFrom('', ' ', '10.66.0.2\r', '10.66.0.02', '../../x', '\0', '{}')),
        { maxLength: 4 },
      ),
      end: fc.constantFrom('\n', '', '\r\n'),
      cutAt: fc.option(fc.nat(80), { freq: 4 }),
      held: fc.uniqueArray(addresses, { maxLength: 2 }),
    })
    .map(({ name, first, lines, end, cutAt, held }) => {
      const whole = [first, ...lines].join('\n') + end
      return { name, content: whole.slice(0, cutAt ?? undefined), held }
    }),
  { selector: ({ name }) => name, maxLength: 3 },
)

/** Addresses with the inodes of their files, in order. */
const heldIn = (directory: string): [string, number][] =>
  readdirSync(directory, { withFileTypes: true })
    .filter(entry => entry.isFile() && isAddressName(entry.name))
    .map(({ name }): [string, number] => [name, lstatSync(`${directory}/${name}`).ino])
    .sort()

/** Writes the files; an address stays with the first that has it. */
function putOwners(directory: string, files: OwnerFile[]): void {
  mkdirSync(`${directory}/.owners`, { recursive: true })
  for (const { name, content, held } of files) {
    writeFileSync(`${directory}/.owners/${name}`, content)
    for (const address of held)
      if (!existsSync(`${directory}/${address}`)) linkSync(`${directory}/.owners/${name}`, `${directory}/${address}`)
  }
}

/** undefined after a CniError that a runtime can read. */
function attempt<T>(body: () => T): T | undefined {
  try {
    return body()
  } catch (error) {
    assert.instance(error, CniError, String((error as Error).stack))
    assert.ok([4, 5, 100].includes((error as CniError).code), (error as Error).message)
    return undefined
  }
}

const inode = (path: string) => lstatSync(path, { throwIfNoEntry: false })?.ino

/** The lease has one address of the pool, which is a hard link to its owner's file. */
function verifyLease(dataDir: string, owner: Owner, lease: Lease): void {
  const directory = `${dataDir}/ipam/net`
  const [address] = lease.ips[0]!.address.split('/')
  assert.match(address!, /^10\.66\.0\.\d+$/)
  assert.is(inode(`${directory}/${address}`), inode(`${directory}/.owners/${owner.containerID}:${owner.ifname}`))
  assert.equal(leaseOf(dataDir, 'net', owner), [address])
}

const OWNER: Owner = { containerID: 'c1', ifname: 'eth0' }

test('owner files that are nearly right: an owner loses and gets its own addresses alone', () => {
  cases('owner files on disk', runs(100, 4_000), ownerFiles, files =>
    inDirectory(dataDir => {
      const directory = `${dataDir}/ipam/net`
      putOwners(directory, files)
      const own = inode(`${directory}/.owners/c1:eth0`)
      const others = heldIn(directory).filter(([, ino]) => ino !== own)
      assert.is(leaseOf(dataDir, 'net', OWNER)?.length ?? 0, heldIn(directory).length - others.length)
      assert.is(leaseList(dataDir, 'net').length, files.length)
      leaseOwner(dataDir, 'net', OWNER)
      release(dataDir, 'net', OWNER)
      assert.equal(heldIn(directory), others)
      const lease = acquire(dataDir, 'net', OWNER, POOL, [])
      verifyLease(dataDir, OWNER, lease)
      assert.throws(
        () => acquire(dataDir, 'net', OWNER, POOL, []),
        (error: CniError) => error.code === 4,
      )
      release(dataDir, 'net', OWNER)
      assert.equal(heldIn(directory), others)
      collect(dataDir, 'net', [])
      assert.equal(heldIn(directory), [])
      assert.equal(leaseList(dataDir, 'net'), [])
    }),
  )
})

test('an ADD takes the place of an owner file without an owner, and of no other', () => {
  cases('owner files at an ADD', runs(100, 4_000), ownerFiles, files =>
    inDirectory(dataDir => {
      const directory = `${dataDir}/ipam/net`
      putOwners(directory, files)
      const before = heldIn(directory)
      const own = inode(`${directory}/.owners/c1:eth0`)
      const hasOwner = leaseOwner(dataDir, 'net', OWNER) !== undefined
      const lease = attempt(() => acquire(dataDir, 'net', OWNER, POOL, []))
      assert.is(lease === undefined, hasOwner)
      if (lease === undefined) assert.equal(heldIn(directory), before)
      else {
        verifyLease(dataDir, OWNER, lease)
        release(dataDir, 'net', OWNER)
        const others = before.filter(([, ino]) => ino !== own)
        assert.equal(heldIn(directory), others)
      }
    }),
  )
})

test('a directory of leases with anything in it gives an address that is free, or says why not', () => {
  const all = fc.array(fc.tuple(fc.constantFrom('.owners/', ''), name, things), { maxLength: 4 })
  cases('leases on disk', runs(60, 2_000), all, list =>
    inDirectory(dataDir => {
      const directory = `${dataDir}/ipam/net`
      for (const [part, file, thing] of list) put(`${directory}/${part}${file.slice(0, 180)}`, thing)
      attempt(() => leaseOf(dataDir, 'net', OWNER))
      attempt(() => release(dataDir, 'net', OWNER))
      const lease = attempt(() => acquire(dataDir, 'net', OWNER, POOL, []))
      if (lease !== undefined) verifyLease(dataDir, OWNER, lease)
      attempt(() => collect(dataDir, 'net', []))
      if (lease !== undefined)
        assert.is(
          attempt(() => leaseOf(dataDir, 'net', OWNER)),
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
