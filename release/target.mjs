// What is built, and from which parts: for build.mjs, image.mjs, release.mjs and licences/.
// TUNLINK_ARCH (x64, arm64) is the architecture built for. Where it is not the machine's own, its
// npm packages and C libraries are those that `bash release/fetch ARCH` has put into
// dist/parts-ARCH. TUNLINK_DIST is another directory than dist, TUNLINK_VERSION another version
// than that of package.json: for a test of upgrades.
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = dirname(dirname(fileURLToPath(import.meta.url)))
export const dist = resolve(root, process.env.TUNLINK_DIST ?? 'dist')
export const version = process.env.TUNLINK_VERSION ?? JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).version
export const arch = process.env.TUNLINK_ARCH ?? process.arch
export const isForeign = arch !== process.arch

/** By Node's name of an architecture: that of OCI and Debian, of its libraries, of Bun's target. */
const NAMES = {
  x64: { oci: 'amd64', triplet: 'x86_64-linux-gnu', bunTarget: 'bun-linux-x64-baseline', bunPackage: '@oven/bun-linux-x64-baseline' },
  arm64: { oci: 'arm64', triplet: 'aarch64-linux-gnu', bunTarget: 'bun-linux-arm64', bunPackage: '@oven/bun-linux-aarch64' },
}
if (NAMES[process.arch] === undefined)
  throw new Error(`Nothing can be built on ${process.arch}: the machine must be one of ${Object.keys(NAMES).join(', ')}`)
if (NAMES[arch] === undefined)
  throw new Error(`There is no build for ${arch}: TUNLINK_ARCH must be one of ${Object.keys(NAMES).join(', ')}`)
export const { oci, triplet, bunTarget, bunPackage } = NAMES[arch]
/** Bun as the machine itself runs it. */
export const builder = join(root, 'node_modules', NAMES[process.arch].bunPackage, 'bin/bun')

const parts = isForeign ? join(root, `dist/parts-${arch}`) : root
if (!existsSync(join(parts, 'node_modules', bunPackage)))
  throw new Error(`The parts for ${arch} are missing: run ${isForeign ? `bash release/fetch ${arch}` : 'npm ci'}`)
/** Where the npm packages for `arch` are. */
export const packages = join(parts, 'node_modules')
/** What the paths of C libraries for `arch` are below. */
export const sysroot = isForeign ? join(parts, 'sysroot') : '/'
/** koffi's addon for `arch`. */
export const addon = join(packages, `@koromix/koffi-linux-${arch}/linux_${arch}/koffi.node`)

const TAR_OPTIONS = ['--sort=name', '--mtime=@0', '--owner=0', '--group=0', '--numeric-owner', '--mode=u=rwX,go=rX', '--format=gnu']

/** An archive: the same files give the same bytes, whoever builds and whatever the umask is. */
export const tar = (directory, paths) =>
  execFileSync('tar', [...TAR_OPTIONS, '-C', directory, '-cf', '-', ...paths], { maxBuffer: 2 ** 30 })
