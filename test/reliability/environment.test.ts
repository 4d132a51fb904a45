/**
 * The executable does what it is for, whatever variables and files a runtime's environment has:
 * docs/environment.md has the table.
 */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { agentEnv } from '../../src/agent/spawn.ts'
import { SUPPORTED } from '../../src/cni/version.ts'
import { inDirectory } from '../directory.ts'
import { EXECUTABLES, eventually, inside, Lab } from '../support.ts'
import { listen } from './inside-lab.ts'

const test = suite('environment')

const [TUNLINK, SCRIPT] = EXECUTABLES.map(([, path]) => path) as [string, string]
const ANSWER = { cniVersion: SUPPORTED.at(-1), supportedVersions: SUPPORTED }

/** Code that anybody would notice: it says so on standard output, and ends the process. */
const INTRUDER = 'console.log("intruder"); process.exit(0)'

const withIntruder = (body: (directory: string) => void): void =>
  inDirectory(directory => {
    writeFileSync(join(directory, 'intruder.cjs'), INTRUDER)
    body(directory)
  })

const PLAIN = { PATH: `${dirname(process.execPath)}:${process.env.PATH}`, CNI_COMMAND: 'VERSION' }

function version(executable: string, env: Record<string, string>, cwd = '/') {
  const { status, stdout, stderr } = spawnSync(executable, {
    cwd,
    env: { ...PLAIN, ...env },
    encoding: 'utf8',
    timeout: 60_000,
  })
  return { status, stdout, stderr }
}

function verifyDoesItsWork(executable: string, env: Record<string, string>, cwd?: string): void {
  const { status, stdout, stderr } = version(executable, env, cwd)
  assert.is(status, 0, `${JSON.stringify(env)}: ${stdout}${stderr}`)
  assert.equal(JSON.parse(stdout), ANSWER, JSON.stringify(env))
}

test('BUN_OPTIONS changes nothing: the build ends what the runtime reads of it', () => {
  withIntruder(directory => {
    const intruder = join(directory, 'intruder.cjs')
    const options = [
      '--version',
      '--help',
      '--revision',
      `--preload=${intruder}`,
      `-r ${intruder}`,
      `--require ${intruder}`,
      `--import=${intruder}`,
    ]
    const others = [
      '--config=/nonexistent',
      '--inspect-wait=127.0.0.1:0',
      '--inspect-brk',
      '-e 1',
      '--print 1',
      `run ${intruder}`,
      intruder,
      'test',
      "'",
      '--',
    ]
    for (const BUN_OPTIONS of [...options, ...others]) verifyDoesItsWork(TUNLINK, { BUN_OPTIONS })
  })
})

test('variables of Node and those that Bun shares with it change nothing in the executable', () => {
  withIntruder(directory => {
    const intruder = join(directory, 'intruder.cjs')
    const harmless: Record<string, string>[] = [
      { NODE_OPTIONS: `--require=${intruder}` },
      { NODE_OPTIONS: '--no-such-option' },
      {
        NODE_PATH: directory,
        NODE_ENV: 'test',
        NODE_DEBUG: 'fs,net',
        NODE_CHANNEL_FD: '1',
        NODE_UNIQUE_ID: '1',
        NODE_TEST_CONTEXT: 'child',
      },
      { BUN_DISABLE_TRANSPILER: '1', BUN_RUNTIME_TRANSPILER_CACHE_PATH: directory, BUN_FEATURE_FLAG_INTERNAL_FOR_TESTING: '1' },
      { JSC_useJIT: '0', JSC_noSuchOption: '1' },
      { MIMALLOC_SHOW_STATS: '1' },
      { BUN_INSPECT_NOTIFY: `unix://${directory}/nobody` }, // without BUN_INSPECT
      { BUN_INSPECT_CONNECT_TO: `${directory}/nobody` },
    ]
    for (const env of harmless) verifyDoesItsWork(TUNLINK, env)
  })
})

for (const [name, executable] of EXECUTABLES) {
  test(`${name}: files in the working directory change nothing`, () => {
    withIntruder(directory => {
      const write = (file: string, content: string) => {
        mkdirSync(dirname(join(directory, file)), { recursive: true })
        writeFileSync(join(directory, file), content)
      }
      const variables = 'CNI_COMMAND=ADD\nBUN_BE_BUN=1\nNODE_OPTIONS=--require=./intruder.cjs\n'
      for (const file of ['.env', '.env.local', '.env.production', '.env.development']) write(file, variables)
      write('bunfig.toml', 'preload = ["./intruder.cjs"]\n[run]\nbun = true\n')
      write('package.json', '{"type":"module","main":"./intruder.cjs","imports":{"#x":"./intruder.cjs"},"scripts":{"preinstall":"false"}}')
      write('tsconfig.json', '{"compilerOptions":{"paths":{"*":["./intruder.cjs"]},"baseUrl":"."}}')
      write('.npmrc', 'node-options=--require=./intruder.cjs\n')
      for (const module of ['koffi', 'fs', 'node:fs', 'bun']) write(`node_modules/${module}/index.js`, INTRUDER)
      verifyDoesItsWork(executable, {}, directory)
      verifyDoesItsWork(executable, { HOME: directory, XDG_CONFIG_HOME: directory, TMPDIR: directory }, directory)
    })
  })
}

test('what the build cannot switch off gives no answer that a runtime would take for one', () => {
  withIntruder(directory => {
    const left: Record<string, string>[] = [
      { BUN_BE_BUN: '1' },
      { BUN_JSC_noSuchOption: '1' },
      { BUN_JSC_watchdog: '1' },
      { BUN_INSPECT_PRELOAD: join(directory, 'intruder.cjs') },
    ]
    for (const env of left)
      assert.throws(
        () => JSON.parse(version(TUNLINK, env).stdout),
        undefined,
        `${JSON.stringify(env)} changes nothing any more: take it out of docs/environment.md`,
      )
  })
})

test('a debugger: BUN_INSPECT listens or calls, and the answer is as ever; with ?wait=1 or ?break=1 there is none', async () => {
  using lab = new Lab(TUNLINK)
  const netns = lab.netns()
  inside(netns, 'ip', 'link', 'set', 'lo', 'up')
  const answer = (env: Record<string, string>) => {
    const { status, stdout } = spawnSync('ip', ['netns', 'exec', netns, TUNLINK], {
      env: { ...PLAIN, ...env },
      encoding: 'utf8',
      timeout: 60_000,
    })
    assert.equal([status, JSON.parse(stdout)], [0, ANSWER], JSON.stringify(env))
  }
  for (const BUN_INSPECT of ['127.0.0.1:0', '127.0.0.1:6499', '1']) answer({ BUN_INSPECT, BUN_INSPECT_NOTIFY: 'unix:///nonexistent' })
  const path = join(lab.dataDir, 'debugger.sock')
  const called: Record<string, string>[] = [{ BUN_INSPECT: `unix://${path}` }, { BUN_INSPECT_CONNECT_TO: path }]
  for (const env of called) {
    const editor = await listen(path)
    try {
      await eventually(`${JSON.stringify(env)} connects`, () => {
        answer(env) // the plugin may end before its thread has called
        return editor.asked() > 0
      })
    } finally {
      editor.close()
    }
  }
  for (const mode of ['wait', 'break']) {
    const env = { ...PLAIN, BUN_INSPECT: `127.0.0.1:0?${mode}=1` }
    const plugin = spawn('ip', ['netns', 'exec', netns, TUNLINK], { env, stdio: ['ignore', 'pipe', 'ignore'] })
    const ended = new Promise(done => plugin.on('close', done))
    let text = ''
    plugin.stdout.on('data', chunk => (text += chunk))
    try {
      await eventually('it listens, on all addresses', () => inside(netns, 'ss', '-Hltn').includes('0.0.0.0:6499'))
      await new Promise(done => setTimeout(done, 2_000))
      assert.equal([text, plugin.exitCode], ['', null], `?${mode}=1 does not wait any more: change docs/environment.md`)
    } finally {
      plugin.kill('SIGKILL')
      await ended
    }
  }
})

test('files and lines that the runtime writes when it is told to: the answer is as ever', () => {
  inDirectory(directory => {
    for (const name of ['ORDER_OUT', 'DIGEST_OUT', 'ORDER_NAMES_OUT']) {
      verifyDoesItsWork(TUNLINK, { [`BUN_BYTECODE_${name}`]: join(directory, name) })
      verifyDoesItsWork(TUNLINK, { [`BUN_BYTECODE_${name}`]: '/nonexistent/file' })
    }
    assert.equal(readdirSync(directory).sort(), ['DIGEST_OUT', 'ORDER_OUT'])
    verifyDoesItsWork(TUNLINK, { MIMALLOC_VERBOSE: '1' })
    assert.match(version(TUNLINK, { MIMALLOC_VERBOSE: '1' }).stderr, /mimalloc/)
  })
})

test('NODE_OPTIONS does reach dist/tunlink.cjs, as docs/environment.md says', () => {
  withIntruder(directory => {
    assert.is(version(SCRIPT, { NODE_OPTIONS: `--require=${join(directory, 'intruder.cjs')}` }).stdout, 'intruder\n')
  })
})

test('an agent inherits no variable of the runtime', async () => {
  const env = { BUN_JSC_useJIT: '1', BUN_CONFIG_VERBOSE_FETCH: '1', NODE_OPTIONS: '--no-warnings', MIMALLOC_PURGE_DELAY: '10' }
  using lab = new Lab(TUNLINK)
  const pod = lab.netns()
  lab.must('ADD', pod, {}, env)
  await eventually('an agent runs', () => lab.agentPid() !== undefined)
  const names = readFileSync(`/proc/${lab.agentPid()}/environ`, 'utf8')
    .split('\0')
    .map(pair => pair.split('=')[0]!)
  assert.equal(
    names.filter(name => /^(CNI|BUN|NODE|MIMALLOC)_/.test(name)),
    ['BUN_GC_TIMER_DISABLE'],
  )
  assert.ok(names.includes('PATH'))
  lab.must('DEL', pod)
  assert.not('CNI_COMMAND' in agentEnv())
})

test('nothing was left where the tests ran', () => {
  for (const file of ['/.env', '/bunfig.toml']) assert.not(existsSync(file))
})

test.run()
