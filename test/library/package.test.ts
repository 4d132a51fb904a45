/** The package as somebody gets it: packed, in an empty project, on Node and Bun. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

const test = suite('package')
const root = resolve(import.meta.dirname, '../..')
const project = mkdtempSync(join(tmpdir(), 'tunlink-package-'))
test.after(() => rmSync(project, { recursive: true, force: true }))

test('the package holds the library, its types and no more', () => {
  execFileSync(process.execPath, ['build.mjs', 'library'], { cwd: root })
  const tarball = execFileSync('npm', ['pack', '--silent', '--pack-destination', project, './dist/library'], {
    cwd: root,
    encoding: 'utf8',
  }).trim()
  const modules = join(project, 'node_modules')
  mkdirSync(modules)
  execFileSync('tar', ['-xf', join(project, tarball), '-C', project])
  assert.equal(readdirSync(join(project, 'package')).sort(), ['LICENSE', 'README.md', 'index.js', 'package.json', 'types'])
  symlinkSync(join(project, 'package'), join(modules, 'tunlink'))
  for (const name of ['koffi', '@koromix', '@types', 'undici-types']) symlinkSync(join(root, 'node_modules', name), join(modules, name))
  writeFileSync(join(project, 'package.json'), '{ "type": "module" }')
})
test("its README's program has types", () => {
  const [, program] = readFileSync(join(project, 'package/README.md'), 'utf8').match(/```ts\n(.*?)```/s)!
  writeFileSync(join(project, 'program.ts'), program!)
  const options = [
    '--ignoreConfig',
    '--noEmit',
    '--strict',
    '--target',
    'es2023',
    '--lib',
    'es2023,esnext.disposable',
    '--module',
    'nodenext',
    '--types',
    'node',
  ]
  execFileSync(join(root, 'node_modules/.bin/tsc'), [...options, 'program.ts'], { cwd: project })
})
for (const [runtime, executable] of [
  ['Node', process.execPath],
  ['Bun', join(root, 'node_modules/@oven/bun-linux-x64-baseline/bin/bun')],
])
  test(`${runtime} makes a device with it`, () => {
    const script = `import { TunDevice, IFF_TAP, IFF_NO_PI } from 'tunlink'
      const tun = new TunDevice({ name: 'probe%d' })
      tun.addr = '10.8.0.1'
      tun.dstaddr = '10.8.0.2'
      tun.up()
      setTimeout(() => process.exit(3), 30_000)
      const { spawn } = await import('node:child_process')
      spawn('ping', ['-c', '1', '-W', '1', '10.8.0.2'], { stdio: 'ignore' })
      for await (const packet of tun) if (packet[0] >> 4 === 4) break
      console.log(tun.name, tun.dstaddr, tun.stats.txPackets > 0)
      tun.close()
      process.exit(0)`
    writeFileSync(join(project, 'probe.mjs'), script)
    const output = execFileSync('unshare', ['--net', executable!, 'probe.mjs'], { cwd: project, encoding: 'utf8' })
    assert.is(output, 'probe0 10.8.0.2 true\n')
  })

test.run()
