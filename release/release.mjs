// npm run release: what a release consists of, in dist/release: for each architecture an archive
// tunlink-VERSION-linux-ARCH.tar.gz with executables, image, manifests, documents, licences, SBOM
// and checksums; the library's package; SHA256SUMS of these. The same sources give the same bytes
// with the same C libraries and npm (Node is the lock file's): no time, no owner, no umask in them.
// No root is needed.
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { cpSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { dist, root, tar, version } from './target.mjs'
import { trackedFiles } from './tracked.mjs'

const ARCHITECTURES = ['x64', 'arm64']
const BUILT = ['tunlink', 'tunlink.cjs', 'tunlinkd.cjs', 'tunlink-image.tar', 'THIRD-PARTY-LICENCES.txt', 'sbom.cdx.json']
const COPIED = ['manifests', 'docs', 'README.md', 'CHANGELOG.md', 'SECURITY.md', 'LICENSE', 'licences']
const out = join(dist, 'release')
const work = join(dist, 'release.work')

for (const directory of [out, work]) rmSync(directory, { recursive: true, force: true })
mkdirSync(out, { recursive: true })
for (const arch of ARCHITECTURES) releaseFor(arch)
releaseLibrary()
writeFileSync(join(out, 'SHA256SUMS'), checksums(out))
rmSync(work, { recursive: true })
for (const name of readdirSync(out)) console.log(`${join(out, name)} ${(statSync(join(out, name)).size / 1e6).toFixed(1)} MB`)

function releaseFor(arch) {
  if (arch !== process.arch) execFileSync('bash', [join(root, 'release/fetch'), arch], { stdio: 'inherit' })
  const built = join(work, arch)
  for (const script of ['build.mjs', 'licences/sbom.mjs', 'release/image.mjs']) node(script, { TUNLINK_ARCH: arch, TUNLINK_DIST: built })
  const name = `tunlink-${version}-linux-${arch}`
  const directory = join(work, name)
  for (const file of BUILT) cpSync(join(built, file), join(directory, file))
  for (const path of trackedFiles(root, COPIED)) cpSync(join(root, path), join(directory, path))
  writeFileSync(join(directory, 'SHA256SUMS'), checksums(directory))
  writeFileSync(join(out, `${name}.tar.gz`), gzipSync(tar(work, [name])))
}

/** What `npm pack` makes but for modes, which it takes over from files, and so from the umask. */
function releaseLibrary() {
  node('build.mjs', { TUNLINK_DIST: work }, 'library')
  renameSync(join(work, 'library'), join(work, 'package'))
  writeFileSync(join(out, `tunlink-${version}.tgz`), gzipSync(tar(work, ['package'])))
}

function node(script, environment, ...words) {
  execFileSync(process.execPath, [join(root, script), ...words], {
    env: { ...process.env, ...environment },
    stdio: ['ignore', 'ignore', 'inherit'],
  })
}

/** What `sha256sum --check` reads: all files below `directory`, sorted. */
function checksums(directory) {
  const entries = readdirSync(directory, { recursive: true }).filter(path => statSync(join(directory, path)).isFile())
  const hash = path =>
    createHash('sha256')
      .update(readFileSync(join(directory, path)))
      .digest('hex')
  return entries
    .sort()
    .map(path => `${hash(path)}  ${path}\n`)
    .join('')
}
