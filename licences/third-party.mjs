// The licences of what is in the executables and in the image but not ours. build.mjs writes them
// to dist/THIRD-PARTY-LICENCES.txt, image.mjs puts them and those of the system's libraries into
// the image. What is in a bundle is what esbuild's metafile says.
import { execFileSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, realpathSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const packages = join(root, 'node_modules')
const LICENCE = /^(un)?licen[sc]e|^copying/i

/**
 * The whole text; `inputs` are paths of bundled files below the repository, `bunVersion` as
 * "1.4.5".
 */
export function thirdPartyLicences(inputs, bunVersion) {
  const texts = bundledPackages(inputs).map(name => section(`${name} ${versionOf(name)}`, licenceOf(name)))
  const addonApi = join(packages, 'koffi/vendor/node-addon-api')
  return [
    'What tunlink and tunlinkd are made of besides their own code, and the licences of it.\n',
    section(`Bun ${bunVersion}`, readFileSync(join(root, 'licences/bun.md'), 'utf8').replaceAll('BUN_VERSION', bunVersion)),
    section('node-addon-api, in koffi', textIn(addonApi) ?? missing('node-addon-api')),
    ...texts,
    ...['LGPL-2.0', 'LGPL-2.1'].map(name => section(name, readFileSync(join(root, `licences/${name}.txt`), 'utf8'))),
  ].join('\n')
}

/** Names of npm packages, sorted: koffi for the package that has its addon for one architecture. */
export function bundledPackages(inputs) {
  const names = inputs.flatMap(path => /.*node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1] ?? [])
  return [...new Set(names.map(name => (name.startsWith('@koromix/koffi-') ? 'koffi' : name)))].sort()
}

/**
 * Puts the licences of `libraries` (paths below `sysroot`) into the image at `directory`, as Debian
 * keeps them: /usr/share/doc/PACKAGE/copyright, and the common texts that those refer to. Of
 * another sysroot than "/" all packages are taken: it holds no others. On a machine without dpkg it
 * throws: build the Dockerfile there.
 */
export function copySystemLicences(libraries, sysroot, directory) {
  const owners = sysroot === '/' ? libraries.map(ownerOf) : readdirSync(join(sysroot, 'usr/share/doc'))
  for (const owner of new Set(owners)) {
    const copyright = `/usr/share/doc/${owner}/copyright`
    copyInto(directory, copyright, sysroot)
    const text = readFileSync(join(sysroot, copyright), 'utf8')
    for (const [common] of text.matchAll(/\/usr\/share\/common-licenses\/[A-Za-z]+(-[\d.]*\d)?/g))
      if (existsSync(common)) copyInto(directory, common)
  }
}

/** The Debian package of a file, which dpkg may know by the path before /usr was merged. */
function ownerOf(library) {
  const real = realpathSync(library)
  for (const path of [real, real.replace(/^\/usr/, ''), library]) {
    try {
      return execFileSync('dpkg-query', ['-S', path], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).split(':')[0]
    } catch {
      // another path of the same file may be the one
    }
  }
  throw new Error(`The licence of ${library} is not found: no Debian package has it; build the Dockerfile instead`)
}

function copyInto(directory, path, sysroot = '/') {
  mkdirSync(join(directory, dirname(path)), { recursive: true })
  copyFileSync(join(sysroot, path), join(directory, path))
}

const section = (title, text) => `${'='.repeat(78)}\n${title}\n${'='.repeat(78)}\n\n${text.trim()}\n`

const versionOf = name => JSON.parse(readFileSync(join(packages, name, 'package.json'), 'utf8')).version

const licenceOf = name => textIn(join(packages, name)) ?? missing(name)

function textIn(directory) {
  const file = readdirSync(directory).find(file => LICENCE.test(file))
  return file && readFileSync(join(directory, file), 'utf8')
}

function missing(name) {
  throw new Error(`The package "${name}" is in a bundle and has no licence text: add it to licences/third-party.mjs`)
}
