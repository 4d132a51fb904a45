/**
 * What cannot be told is not taken for what is not there: a DEL that takes a device for gone
 * forgets it.
 */
import { execFileSync, spawn } from 'node:child_process'
import { closeSync, constants, mkdirSync, mkdtempSync, openSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { recordRead, refuseUnreadable } from '../../src/link/record.ts'
import { checked, ifIndexToName, ifNameToIndex } from '../../src/linux/libc.ts'
import { LinkDeleter } from '../../src/linux/link-deleter.ts'
import { NetlinkSocket } from '../../src/linux/netlink.ts'
import { Netns } from '../../src/linux/netns.ts'
import { writeAll } from '../../src/linux/read-write.ts'
import { sysctlGet } from '../../src/linux/sysctl.ts'

const test = suite('shortage')

const codeOf = (body: () => unknown): string | undefined => {
  try {
    body()
    return undefined
  } catch (error) {
    return (error as NodeJS.ErrnoException).code
  }
}

/** Runs `body` while this process may open no more files. */
function withoutDescriptors<T>(body: () => T): T {
  const limit = execFileSync('prlimit', ['--pid', String(process.pid), '--nofile', '--output=SOFT', '--noheadings'], {
    encoding: 'utf8',
  }).trim()
  const setLimit = (soft: string) => execFileSync('prlimit', ['--pid', String(process.pid), `--nofile=${soft}:`])
  const taken: number[] = []
  const last = Math.max(...readdirSync('/proc/self/fd').map(Number))
  setLimit(String(last + 64))
  try {
    while (codeOf(() => taken.push(openSync('/dev/null', 'r'))) === undefined) {}
    return body()
  } finally {
    for (const fd of taken) closeSync(fd)
    setLimit(limit)
  }
}

test('ifNameToIndex() is 0 for no device, and throws when no descriptor is left', () => {
  assert.is(ifNameToIndex('lo'), 1)
  assert.is(ifNameToIndex('no-such-device'), 0)
  assert.is(ifNameToIndex('a-name-that-is-too-long'), 0)
  assert.is(
    withoutDescriptors(() => codeOf(() => ifNameToIndex('no-such-device'))),
    'EMFILE',
  )
})

test('ifIndexToName() is undefined for no device, and throws when no descriptor is left', () => {
  assert.is(ifIndexToName(1), 'lo')
  assert.is(ifIndexToName(123_456_789), undefined)
  assert.is(
    withoutDescriptors(() => codeOf(() => ifIndexToName(123_456_789))),
    'EMFILE',
  )
})

test('sysctlGet() is undefined for no key, and throws when no descriptor is left', () => {
  assert.is(sysctlGet(['net', 'no_such_key']), undefined)
  assert.is(
    withoutDescriptors(() => codeOf(() => sysctlGet(['net', 'ipv4', 'ip_forward']))),
    'EMFILE',
  )
})

test('what is no namespace is a TypeError: a file, a directory, a device', () => {
  for (const path of ['/etc/passwd', '/etc', '/dev/null', '/dev/net/tun', '/proc/self/ns/uts', '/proc/self/status'])
    assert.throws(() => new Netns(path), /is not a network namespace/, path)
})

test('a record is broken when it says nothing, and unreadable when no descriptor is left', () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'tunlink-test-'))
  try {
    const attachment = { network: 'net', containerID: 'c', ifname: 'eth0' }
    mkdirSync(join(dataDir, 'links/net'), { recursive: true })
    writeFileSync(join(dataDir, 'links/net/c:eth0.json'), '{')
    refuseUnreadable(recordRead(dataDir, attachment))
    const unreadable = withoutDescriptors(() => recordRead(dataDir, attachment))
    assert.throws(() => refuseUnreadable(unreadable), /Cannot read the record .*EMFILE/)
  } finally {
    rmSync(dataDir, { recursive: true })
  }
})

test('LinkDeleter.delete() throws when neither a kernel thread nor this one can send the request', async () => {
  const AF_UNIX = 1
  const SOCK_DGRAM_NONBLOCK = 2 | 0o4000
  using deleter = new LinkDeleter()
  const netlink = new NetlinkSocket()
  closeSync(netlink.fd)
  // takes the number that has just become free
  assert.is(checked('socket', ['int', 'int', 'int'])(AF_UNIX, SOCK_DGRAM_NONBLOCK, 0), netlink.fd)
  const refusal = await deleter.delete({ index: 1, netlink, probe: new NetlinkSocket() }).catch((error: Error) => error)
  assert.match((refusal as Error).message, /^send: ENOTCONN/, 'sent again by this thread, which has no more luck')
})

test('writeAll() waits for a reader of a pipe that does not block', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'tunlink-test-'))
  try {
    const path = join(directory, 'pipe')
    execFileSync('mkfifo', [path])
    const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK)
    const length = 300_000 // a pipe holds 65,536
    const reader = spawn('sh', ['-c', `sleep 0.2; head -c ${length} "$0" | wc -c`, path], { stdio: ['ignore', 'pipe', 'inherit'] })
    let text = ''
    reader.stdout.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
    const ended = new Promise(done => reader.on('close', done))
    writeAll(fd, 'x'.repeat(length))
    await ended
    closeSync(fd)
    assert.is(Number(text), length)
  } finally {
    rmSync(directory, { recursive: true })
  }
})

test.run()
