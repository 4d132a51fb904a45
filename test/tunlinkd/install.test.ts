/** Files appear whole, heal, and nobody else's are touched. */
import { execFileSync, spawnSync } from 'node:child_process'
import { closeSync, existsSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { configurationsBefore } from '../../src/cni/conf-dir.ts'
import { installExecutable, installText, readText, removeInstalled, signature } from '../../src/node/install.ts'

const test = suite('install')
let directory: string
test.before.each(() => {
  directory = mkdtempSync(join(tmpdir(), 'tunlink-install-'))
})
test.after.each(() => rmSync(directory, { recursive: true }))
const at = (name: string) => join(directory, name)

test('installExecutable() copies once, and again when content or mode differ', () => {
  writeFileSync(at('source'), Buffer.alloc(3 << 20, 'a'))
  const target = at('bin/tunlink')
  assert.ok(installExecutable(at('source'), target))
  assert.is(statSync(target).mode & 0o777, 0o755)
  const first = signature(target)
  assert.not(installExecutable(at('source'), target))
  assert.is(signature(target), first)
  const longer = Buffer.alloc(3 << 20, 'a')
  longer[longer.length - 1] = 98
  writeFileSync(at('source'), longer)
  assert.ok(installExecutable(at('source'), target), 'the last byte differs')
  assert.ok(readFileSync(target).equals(longer))
  assert.is.not(statSync(target).ino, Number(first!.split(' ')[1]), 'a running one keeps its inode')
  rmSync(target)
  assert.is(signature(target), undefined)
  assert.ok(installExecutable(at('source'), target))
  assert.equal(readdirSync(at('bin')), ['tunlink'])
})
test('installExecutable() leaves nothing half-way when the source cannot be read', () => {
  assert.throws(() => installExecutable(at('missing'), at('bin/tunlink')), /ENOENT/)
  assert.equal(readdirSync(at('bin')), [])
})
test('installText() writes when it differs, by a rename within the directory', () => {
  assert.ok(installText('one', at('conf/10-tunlink.conflist')))
  assert.not(installText('one', at('conf/10-tunlink.conflist')))
  assert.ok(installText('two', at('conf/10-tunlink.conflist')))
  assert.is(readText(at('conf/10-tunlink.conflist')), 'two')
  assert.equal(readdirSync(at('conf')), ['10-tunlink.conflist'])
})
test('installText() leaves the old text, and nothing else, where the new one does not fit', () => {
  const path = at('conf/10-tunlink.conflist')
  installText('old', path)
  const program = `
    const { installText } = await import(${JSON.stringify(new URL('../../src/node/install.ts', import.meta.url).href)})
    installText('x'.repeat(6000), process.argv[1])`
  // as on a disk that becomes full: write(2) takes the first 4096 bytes, and then none
  const { status, stderr } = spawnSync('prlimit', ['--fsize=4096', process.execPath, '-e', program, path], { encoding: 'utf8' })
  assert.is(status, 1)
  assert.match(stderr, /EFBIG/)
  assert.is(readText(path), 'old')
  assert.equal(readdirSync(at('conf')), ['10-tunlink.conflist'])
})
test('readText() does not wait for a FIFO, and says what it is', () => {
  execFileSync('mkfifo', [at('fifo')])
  assert.throws(() => readText(at('fifo')), new RegExp(`^Cannot read ${at('fifo')}: it is no regular file$`))
})
test('a log that cannot be written ends nothing', () => {
  const program = `
    const { log } = await import(${JSON.stringify(new URL('../../src/node/log.ts', import.meta.url).href)})
    log.warn('x')
    console.error('goes on')`
  const full = openSync('/dev/full', 'w')
  try {
    const { stderr } = spawnSync(process.execPath, ['-e', program], { encoding: 'utf8', stdio: ['ignore', full, 'pipe'] })
    assert.is(stderr, 'goes on\n')
  } finally {
    closeSync(full)
  }
})
test('configurationsBefore() finds what a runtime would take instead, and no other file', () => {
  for (const name of ['05-cilium.conflist', '00-multus.conf', '10-tunlink.conflist', '87-podman.conflist', '.05-x.conflist.tmp', 'README'])
    writeFileSync(at(name), '')
  assert.equal(configurationsBefore(directory, '10-tunlink.conflist'), ['00-multus.conf', '05-cilium.conflist'])
  assert.equal(configurationsBefore(at('missing'), '10-tunlink.conflist'), [])
})
test('removeInstalled() removes the file and a half-written one, and is told when there was none', () => {
  writeFileSync(at('x'), '')
  writeFileSync(at('.x.tmp'), '')
  assert.ok(removeInstalled(at('x')))
  assert.not(existsSync(at('.x.tmp')))
  assert.not(removeInstalled(at('x')))
})

test.run()
