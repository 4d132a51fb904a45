// Builds dist/tunlink (self-contained, Bun's runtime) and dist/tunlink.cjs (one file for Node) from
// one esbuild bundle, and dist/tunlinkd.cjs from another: Node 22 runs it, and so does dist/tunlink
// with BUN_BE_BUN=1, so that the image holds one runtime. `node build.mjs library` makes
// dist/library instead: what `npm pack ./dist/library` packs. release/target.mjs says for which
// machine.
import { execFileSync } from 'node:child_process'
import { chmodSync, copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { build } from 'esbuild'
import { thirdPartyLicences } from './licences/third-party.mjs'
import { addon, builder, bunPackage, bunTarget, dist, isForeign, packages, root, version } from './release/target.mjs'

const { TUNLINK_BUN } = process.env // another runtime, with changed parts: see licences/bun.md
const runtime = TUNLINK_BUN ?? join(packages, bunPackage, 'bin/bun')
const bun = isForeign ? builder : runtime

mkdirSync(dist, { recursive: true })
if (process.argv[2] === 'library') {
  await library()
  process.exit()
}
// Made anew, as a running executable cannot be written to; the image beside them stays.
for (const name of ['tunlink', 'tunlink.cjs', 'tunlinkd.cjs']) rmSync(join(dist, name), { force: true })
if (bun !== TUNLINK_BUN) chmodSync(bun, 0o755)
const inputs = [...(await bundle('tunlink', 'node20', 'meta.json')), ...(await bundle('tunlinkd', 'node22', 'meta-tunlinkd.json'))]
const bunVersion = JSON.parse(readFileSync(join(packages, bunPackage, 'package.json'), 'utf8')).version
writeFileSync(join(dist, 'THIRD-PARTY-LICENCES.txt'), thirdPartyLicences(inputs, bunVersion))
const FOR_ANOTHER = isForeign ? [`--target=${bunTarget}`, `--compile-executable-path=${runtime}`] : []
// The executable does the same in every directory, and BUN_OPTIONS ends at the "--" before it could
// say anything: docs/environment.md has what is left.
const CLOSED = ['dotenv', 'bunfig', 'tsconfig', 'package-json'].map(file => `--no-compile-autoload-${file}`)
execFileSync(
  bun,
  [
    'build',
    '--compile',
    '--minify',
    '--bytecode',
    ...CLOSED,
    ...FOR_ANOTHER,
    '--compile-exec-argv=--',
    join(dist, 'tunlink.cjs'),
    '--outfile',
    join(dist, 'tunlink'),
  ],
  { cwd: dist, stdio: ['ignore', 'ignore', 'inherit'] },
)
for (const name of ['tunlink', 'tunlink.cjs', 'tunlinkd.cjs'])
  console.log(`dist/${name} ${(statSync(join(dist, name)).size / 1e6).toFixed(1)} MB`)

/** Paths of the files that are in the bundle. */
async function bundle(name, target, meta) {
  const outfile = join(dist, `${name}.cjs`)
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: [`cmd/${name}.ts`],
    outfile,
    bundle: true,
    minify: true,
    platform: 'node',
    format: 'cjs',
    target,
    charset: 'utf8',
    banner: { js: '#!/usr/bin/env node' },
    define: { 'process.env.TUNLINK_VERSION': JSON.stringify(version), 'import.meta.url': 'undefined' },
    alias: { koffi: join(root, 'src/linux/koffi-embedded.ts'), 'koffi-addon': addon },
    loader: { '.node': 'base64' },
    // gRPC loads it for its own debugging services alone, which nothing here starts
    external: ['@grpc/proto-loader'],
    metafile: true,
  })
  writeFileSync(join(dist, meta), JSON.stringify(metafile))
  chmodSync(outfile, 0o755)
  return Object.keys(metafile.inputs)
}

// A package of its own: the repository's has what builds the executables, which nobody needs who
// wants a TUN from TypeScript.
async function library() {
  const out = join(dist, 'library')
  rmSync(out, { recursive: true, force: true })
  await build({
    absWorkingDir: root,
    entryPoints: ['src/library/index.ts'],
    outfile: join(out, 'index.js'),
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node22',
    external: ['koffi'],
  })
  const types = ['--declaration', '--emitDeclarationOnly', '--noEmit', 'false', '--rootDir', 'src', '--outDir', join(out, 'types')]
  const settings = ['--ignoreConfig', '--target', 'es2023', '--module', 'nodenext', '--allowImportingTsExtensions', '--types', 'node']
  execFileSync(join(root, 'node_modules/.bin/tsc'), [...types, ...settings, '--strict', '--skipLibCheck', 'src/library/index.ts'], {
    cwd: root,
    stdio: 'inherit',
  })
  for (const name of readdirSync(join(out, 'types'), { recursive: true }).filter(name => name.endsWith('.d.ts'))) {
    const file = join(out, 'types', name)
    writeFileSync(
      file,
      readFileSync(file, 'utf8')
        .replace(/(?<=from '.*)\.ts(?=')/g, '.js')
        .replace(/(?<=from ".*)\.ts(?=")/g, '.js'),
    )
  }
  for (const name of ['LICENSE', 'docs/library.md']) copyFileSync(join(root, name), join(out, name === 'LICENSE' ? name : 'README.md'))
  const { description, license, dependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const manifest = {
    name: 'tunlink',
    version,
    description: `TUN and TAP devices from TypeScript; the library of tunlink, a ${description}`,
    license,
    type: 'module',
    exports: { '.': { types: './types/library/index.d.ts', default: './index.js' } },
    engines: { node: '>=22' },
    os: ['linux'],
    dependencies: { koffi: dependencies.koffi },
  }
  writeFileSync(join(out, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`)
}
