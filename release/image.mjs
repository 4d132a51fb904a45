// npm run image [-- NAME [FILE]]: the image of manifests/tunlink.yaml as an archive in OCI's
// layout, for `ctr -n k8s.io images import`; no container engine needed. node image.mjs --root DIR:
// the image's files only, as the Dockerfile takes them. One runtime serves both programs:
// BUN_BE_BUN makes dist/tunlink run tunlinkd.cjs. Next to them lie only the C libraries that they
// load, of the machine that builds, or for another architecture of its Debian release, which must
// be no newer than the nodes.
import { createHash } from 'node:crypto'
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { librariesOf } from '../licences/libraries.mjs'
import { copySystemLicences } from '../licences/third-party.mjs'
import { addon, dist, oci, root, sysroot, tar, triplet } from './target.mjs'

const [name = imageOf('manifests/tunlink.yaml'), file = join(dist, 'tunlink-image.tar')] = process.argv.slice(2)
// Bun's allocator gives memory back to the kernel and takes it again some times a second: with
// tunlinkd that is a third of its CPU time.
const CONFIG = {
  Env: ['PATH=/usr/local/bin', 'BUN_BE_BUN=1', 'MIMALLOC_PURGE_DELAY=-1'],
  Entrypoint: ['/usr/local/bin/tunlink', '/usr/local/bin/tunlinkd.cjs'],
  WorkingDir: '/',
}

for (const program of ['tunlink', 'tunlinkd.cjs'])
  if (!existsSync(join(dist, program))) throw new Error(`dist/${program} is missing: run npm run build first`)
if (name === '--root') writeRoot(file)
else writeImage()

function writeImage() {
  const work = mkdtempSync(join(tmpdir(), 'tunlink-image-'))
  try {
    writeRoot(join(work, 'root'))
    writeArchive(join(work, 'oci'), tar(join(work, 'root'), ['.']))
  } finally {
    rmSync(work, { recursive: true })
  }
  console.log(`${name} in ${file}, ${(statSync(file).size / 1e6).toFixed(1)} MB`)
}

function writeRoot(directory) {
  for (const path of ['usr/local/bin', 'dev', 'etc', 'proc', 'sys', 'tmp', 'run', 'var'])
    mkdirSync(join(directory, path), { recursive: true })
  symlinkSync('../run', join(directory, 'var/run')) // runtimes name namespaces by either path
  for (const program of ['tunlink', 'tunlinkd.cjs']) copyFileSync(join(dist, program), join(directory, 'usr/local/bin', program))
  const libraries = librariesOf([join(dist, 'tunlink'), addon], sysroot, triplet)
  for (const library of libraries) {
    mkdirSync(join(directory, dirname(library)), { recursive: true })
    copyFileSync(join(sysroot, library), join(directory, library))
  }
  const doc = join(directory, 'usr/share/doc/tunlink')
  mkdirSync(doc, { recursive: true })
  copyFileSync(join(root, 'LICENSE'), join(doc, 'LICENSE'))
  copyFileSync(join(dist, 'THIRD-PARTY-LICENCES.txt'), join(doc, 'THIRD-PARTY-LICENCES.txt'))
  copySystemLicences(libraries, sysroot, directory)
}

/** See the OCI image layout specification. The same input gives the same bytes. */
function writeArchive(directory, layerTar) {
  mkdirSync(join(directory, 'blobs/sha256'), { recursive: true })
  const digest = bytes => `sha256:${createHash('sha256').update(bytes).digest('hex')}`
  const blob = (bytes, mediaType) => {
    writeFileSync(join(directory, 'blobs/sha256', digest(bytes).slice(7)), bytes)
    return { mediaType, digest: digest(bytes), size: bytes.length }
  }
  const json = (value, mediaType) => blob(Buffer.from(JSON.stringify(value)), mediaType)
  const layers = [blob(gzipSync(layerTar), 'application/vnd.oci.image.layer.v1.tar+gzip')]
  const rootfs = { type: 'layers', diff_ids: [digest(layerTar)] }
  const config = json({ architecture: oci, os: 'linux', config: CONFIG, rootfs }, 'application/vnd.oci.image.config.v1+json')
  const mediaType = 'application/vnd.oci.image.manifest.v1+json'
  const manifest = json({ schemaVersion: 2, mediaType, config, layers }, mediaType)
  const annotations = { 'io.containerd.image.name': name, 'org.opencontainers.image.ref.name': name }
  writeFileSync(join(directory, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }))
  writeFileSync(join(directory, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [{ ...manifest, annotations }] }))
  writeFileSync(file, tar(directory, ['oci-layout', 'index.json', 'blobs']))
}

/** The first `image:` of a manifest. */
function imageOf(manifest) {
  return /^\s+image: (\S+)$/m.exec(readFileSync(join(root, manifest), 'utf8'))[1]
}
