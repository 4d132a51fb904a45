/** Standard input and standard error as runtimes give them. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync } from 'node:fs'
import { constants } from 'node:os'
import { dirname, join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { checked } from '../../src/linux/libc.ts'
import { EXECUTABLES, environment, Lab } from '../support.ts'

const test = suite('standard streams')

const pipe2 = checked('pipe2', ['void *', 'int'])
const NONBLOCK_CLOEXEC = 0o2004000

/** A pipe whose ends do not block: [to read from, to write to]. */
function pipe(): [number, number] {
  const ends = Buffer.alloc(8)
  pipe2(ends, NONBLOCK_CLOEXEC)
  return [ends.readInt32LE(0), ends.readInt32LE(4)]
}

for (const [name, executable] of EXECUTABLES)
  test(`${name}: a configuration that comes late, in two parts, by a pipe that does not block`, async () => {
    using lab = new Lab(executable)
    const [from, to] = pipe()
    const conf = { ...lab.conf, type: 'other', ipam: { ...lab.conf.ipam, dataDir: lab.dataDir } }
    const env = { PATH: `${dirname(process.execPath)}:${process.env.PATH}`, ...environment('ADD', 'c1') }
    const plugin = spawn(executable, { env, stdio: [from, 'pipe', 'inherit'] })
    const text = JSON.stringify(conf)
    const late = 'sleep 1; printf %s "$1"; sleep 1; printf %s "$2"'
    spawn('sh', ['-c', late, '-', text.slice(0, 20), text.slice(20)], { stdio: ['ignore', to, 'inherit'] })
    for (const end of [from, to]) closeSync(end)
    let printed = ''
    plugin.stdout!.on('data', chunk => (printed += chunk))
    const [status] = await once(plugin, 'close')
    assert.is(status, 0, printed)
    assert.match(JSON.parse(printed).ips[0].address, /^10\.66\.0\.\d+\/24$/)
  })

// <asm/unistd.h>
const SYS_SENDTO = process.arch === 'arm64' ? 206 : 44
for (const [name, executable] of EXECUTABLES)
  test(`${name}: a standard error that nobody can write to keeps no error from being answered`, () => {
    using lab = new Lab(executable)
    // neither rtnetlink nor a socket as standard error; the undo fails, too, and would say so there
    const errno = String(constants.errno.EBUSY)
    lab.wrapper = [process.execPath, join(import.meta.dirname, 'without-syscall.ts'), String(SYS_SENDTO), errno]
    const { status, json } = lab.cni('ADD', lab.netns(), { ipmasq: true })
    assert.is(status, 1)
    assert.match(json.msg, /EBUSY/)
  })

test.run()
