/**
 * Where the executables come from: pinned packages, no code of theirs at installation, one result.
 */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

const test = suite('build')

const root = resolve(import.meta.dirname, '../..')
const read = (file: string): string => readFileSync(join(root, file), 'utf8')
const json = (file: string) => JSON.parse(read(file))
const OUTPUTS = ['tunlink', 'tunlink.cjs', 'tunlinkd.cjs', 'meta.json', 'meta-tunlinkd.json']

/** SHA-256 of what a copy of the sources in `directory` is built to. */
function buildIn(directory: string): Record<string, string> {
  mkdirSync(directory, { recursive: true })
  for (const part of ['src', 'cmd', 'licences', 'build.mjs', 'release', 'tsconfig.json', 'package.json'])
    cpSync(join(root, part), join(directory, part), { recursive: true })
  symlinkSync(join(root, 'node_modules'), join(directory, 'node_modules'))
  execFileSync(process.execPath, ['build.mjs'], {
    cwd: directory,
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, TZ: 'Asia/Tokyo' },
  })
  const hash = (name: string) =>
    createHash('sha256')
      .update(readFileSync(join(directory, 'dist', name)))
      .digest('hex')
  return Object.fromEntries(OUTPUTS.map(name => [name, hash(name)]))
}

test('two builds in two directories give the same bytes', () => {
  const directory = mkdtempSync(join(tmpdir(), 'tunlink-test-'))
  try {
    const first = buildIn(join(directory, 'a'))
    assert.equal(buildIn(join(directory, 'another, with a longer name')), first)
    console.log(
      `\nfigure: build, two directories: ${OUTPUTS.length} files with the same SHA-256, dist/tunlink ${first.tunlink!.slice(0, 16)}…`,
    )
  } finally {
    rmSync(directory, { recursive: true })
  }
})

test('every dependency is named by one version, and every package of the lock file by its hash', () => {
  const { dependencies, devDependencies, optionalDependencies } = json('package.json')
  for (const [name, version] of Object.entries({ ...dependencies, ...devDependencies, ...optionalDependencies }))
    assert.match(String(version), /^\d+\.\d+\.\d+$/, name)
  const { lockfileVersion, packages } = json('package-lock.json')
  assert.is(lockfileVersion, 3)
  for (const [path, { version, integrity, link }] of Object.entries<Record<string, string>>(packages)) {
    if (path === '') continue
    assert.match(version!, /^\d+\.\d+\.\d+/, path)
    assert.match(integrity ?? '', /^sha512-/, path)
    assert.is(link, undefined, path)
  }
})

test('no package runs a script when it is installed, and neither does this one', () => {
  assert.match(read('.npmrc'), /^ignore-scripts=true$/m)
  assert.match(read('Dockerfile'), /npm ci --ignore-scripts/)
  const names = Object.keys(json('package.json').scripts)
  assert.equal(
    names.filter(name => /^(pre|post)|install|prepare/.test(name)),
    [],
  )
})

test('the SBOM names every package that a bundle holds, the runtime, and a licence and a hash of each', () => {
  const sbom = () => {
    execFileSync(process.execPath, ['licences/sbom.mjs'], { cwd: root, stdio: ['ignore', 'ignore', 'inherit'] })
    return read('dist/sbom.cdx.json')
  }
  const text = sbom()
  assert.is(sbom(), text, 'the same sources, the same bytes')
  const { bomFormat, specVersion, components, metadata, dependencies } = JSON.parse(text)
  assert.equal([bomFormat, specVersion, metadata.component.name], ['CycloneDX', '1.5', 'tunlink'])
  const names: string[] = components.map(({ name }: { name: string }) => name)
  for (const name of ['koffi', '@kubernetes/client-node', `@koromix/koffi-linux-${process.arch}`]) assert.ok(names.includes(name), name)
  assert.ok(names.some(name => name.startsWith('@oven/bun-linux-')))
  assert.ok(!names.some(name => ['esbuild', 'typescript', 'uvu', 'fast-check'].includes(name)), 'what only builds and tests is not in it')
  for (const { name, version, purl, licenses, hashes } of components) {
    assert.ok(licenses.length > 0 && hashes[0].alg === 'SHA-512', name)
    assert.ok(purl.endsWith(`@${version}`), purl)
  }
  const refs = new Set(dependencies.map(({ ref }: { ref: string }) => ref))
  for (const component of components) assert.ok(refs.has(component['bom-ref']), component.name)
  console.log(`\nfigure: build, SBOM: ${components.length} packages`)
})

test.run()
