// npm run image [-- NAME [FILE]]: the image of manifests/tunlink.yaml as an archive in OCI's
// layout, for `ctr -n k8s.io images import`; no container engine needed. node image.mjs --root DIR:
// the image's files only, as the Dockerfile takes them. One runtime serves both programs:
// BUN_BE_BUN makes dist/tunlink run tunlinkd.cjs. Next to them lie only the libraries that they
// load, of the machine that builds, which must be of the architecture built for and no newer than
// the nodes.
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { copySystemLicences } from './licences/third-party.mjs'

const root = dirname(fileURLToPath(import.meta.url))
const require = createRequire(import.meta.url)
const dist = resolve(root, process.env.TUNLINK_DIST ?? 'dist') // as build.mjs has it
const [name = imageOf('manifests/tunlink.yaml'), file = join(dist, 'tunlink-image.tar')] = process.argv.slice(2)
const architecture = { x64: 'amd64', arm64: 'arm64' }[process.arch]
const addon = join(dirname(require.resolve(`@koromix/koffi-linux-${process.arch}/package.json`)), `linux_${process.arch}`, 'koffi.node')
// Bun's allocator gives memory back to the kernel and takes it again some times a second: with
// tunlinkd that is a third of its CPU time.
const CONFIG = {
  Env: ['PATH=/usr/local/bin', 'BUN_BE_BUN=1', 'MIMALLOC_PURGE_DELAY=-1'],
  Entrypoint: ['/usr/local/bin/tunlink', '/usr/local/bin/tunlinkd.cjs'],
  WorkingDir: '/',
}

if ((process.env.TUNLINK_ARCH ?? process.arch) !== process.arch) throw new Error('For another architecture, build the Dockerfile')
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
  const libraries = [...new Set([...librariesOf(join(dist, 'tunlink')), ...librariesOf(addon)])]
  for (const library of libraries) {
    mkdirSync(join(directory, dirname(library)), { recursive: true })
    copyFileSync(library, join(directory, library))
  }
  const doc = join(directory, 'usr/share/doc/tunlink')
  mkdirSync(doc, { recursive: true })
  copyFileSync(join(root, 'LICENSE'), join(doc, 'LICENSE'))
  copyFileSync(join(dist, 'THIRD-PARTY-LICENCES.txt'), join(doc, 'THIRD-PARTY-LICENCES.txt'))
  copySystemLicences(libraries, directory)
}

/** Paths that ldd(1) prints. */
function librariesOf(program) {
  const lines = execFileSync('ldd', [program], { encoding: 'utf8' })
  return [...lines.matchAll(/(?:=> |^\s+)(\/\S+) \(0x/gm)].map(([, path]) => path)
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
  const config = json({ architecture, os: 'linux', config: CONFIG, rootfs }, 'application/vnd.oci.image.config.v1+json')
  const mediaType = 'application/vnd.oci.image.manifest.v1+json'
  const manifest = json({ schemaVersion: 2, mediaType, config, layers }, mediaType)
  const annotations = { 'io.containerd.image.name': name, 'org.opencontainers.image.ref.name': name }
  writeFileSync(join(directory, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }))
  writeFileSync(join(directory, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [{ ...manifest, annotations }] }))
  writeFileSync(file, tar(directory, ['oci-layout', 'index.json', 'blobs']))
}

function tar(directory, paths) {
  const options = ['--sort=name', '--mtime=@0', '--owner=0', '--group=0', '--numeric-owner', '--format=gnu', '-C', directory, '-cf', '-']
  return execFileSync('tar', [...options, ...paths], { maxBuffer: 2 ** 30 })
}

/** The first `image:` of a manifest. */
function imageOf(manifest) {
  return /^\s+image: (\S+)$/m.exec(readFileSync(join(root, manifest), 'utf8'))[1]
}
