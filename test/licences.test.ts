/** Whoever gets the executables or the image gets the licences of what is in them. */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

const test = suite('licences')
const REPO = join(import.meta.dirname, '..')
const read = (path: string) => readFileSync(join(REPO, path), 'utf8')
const packagesIn = (meta: string): string[] => {
  const paths = Object.keys(JSON.parse(read(`dist/${meta}`)).inputs)
  return [...new Set(paths.flatMap(path => /.*node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1] ?? []))]
}

test('each package in a bundle is named with its version, and followed by a licence', () => {
  const sections = read('dist/THIRD-PARTY-LICENCES.txt').split(/^={78}\n/m)
  const bundled = [...packagesIn('meta.json'), ...packagesIn('meta-tunlinkd.json')]
  assert.ok(bundled.length > 10)
  for (const found of bundled) {
    const name = found.startsWith('@koromix/koffi-') ? 'koffi' : found
    const { version } = JSON.parse(read(`node_modules/${name}/package.json`))
    const at = sections.indexOf(`${name} ${version}\n`)
    assert.ok(at > 0, `${name} ${version}`)
    assert.match(sections[at + 1]!, /permi(t|ssion)|Apache License|public domain/i, name)
  }
})
test('the parts of Bun under the LGPL are named, with its texts and how to relink', () => {
  const text = read('dist/THIRD-PARTY-LICENCES.txt')
  const version: string = JSON.parse(read('package.json')).optionalDependencies['@oven/bun-linux-x64-baseline']
  for (const words of [
    `Bun ${version}\n`,
    `git checkout bun-v${version}\n`,
    /JavaScriptCore .* LGPL-2\.0 or later/,
    /tinycc .* LGPL-2\.1/,
    /TUNLINK_BUN=\S+ npm run build/,
    /GNU LIBRARY GENERAL PUBLIC LICENSE\s+Version 2, June 1991/,
    /GNU LESSER GENERAL PUBLIC LICENSE\s+Version 2\.1, February 1999/,
  ])
    assert.ok(typeof words === 'string' ? text.includes(words) : words.test(text), String(words))
})
test('the image has our licence, those of packages, and those of the libraries in it', () => {
  const directory = mkdtempSync(join(tmpdir(), 'tunlink-image-'))
  try {
    execFileSync(process.execPath, [join(REPO, 'release/image.mjs'), '--root', directory])
    const inImage = (path: string) => readFileSync(join(directory, path), 'utf8')
    assert.is(inImage('usr/share/doc/tunlink/LICENSE'), read('LICENSE'))
    assert.is(inImage('usr/share/doc/tunlink/THIRD-PARTY-LICENCES.txt'), read('dist/THIRD-PARTY-LICENCES.txt'))
    for (const owner of ['libc6', 'libstdc++6', 'libgcc-s1']) assert.match(inImage(`usr/share/doc/${owner}/copyright`), /licen[sc]e/i)
    for (const common of ['LGPL-2.1', 'GPL-3']) assert.ok(existsSync(join(directory, 'usr/share/common-licenses', common)), common)
  } finally {
    rmSync(directory, { recursive: true })
  }
})
test('what the Dockerfile builds from has all that the build and the image read', () => {
  const copied = [...read('Dockerfile').matchAll(/^COPY (?!--from)(.*) \S+$/gm)].flatMap(([, paths]) => paths!.split(' '))
  for (const path of ['build.mjs', 'release', 'tsconfig.json', 'licences', 'LICENSE', 'cmd', 'src', '.npmrc'])
    assert.ok(copied.includes(path), path)
})
test('npm runs no install script: nothing needs one', () => {
  assert.match(read('.npmrc'), /^ignore-scripts=true$/m)
  assert.match(read('Dockerfile'), /npm ci --ignore-scripts/)
})

test.run()
