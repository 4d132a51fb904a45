// Builds dist/tunlink (self-contained, Bun's runtime) and dist/tunlink.cjs (one file for Node) from
// one esbuild bundle, and dist/tunlinkd.cjs from another: Node 22 runs it, and so does dist/tunlink
// with BUN_BE_BUN=1, so that the image holds one runtime. TUNLINK_DIST is another directory than
// dist, TUNLINK_VERSION another version than that of package.json: for a test of upgrades.
import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = dirname(fileURLToPath(import.meta.url))
const require = createRequire(import.meta.url)
const arch = process.env.TUNLINK_ARCH ?? process.arch
const bunPackage = { x64: '@oven/bun-linux-x64-baseline', arm64: '@oven/bun-linux-aarch64' }[arch]
const { TUNLINK_VERSION: version = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).version } = process.env
const addon = join(dirname(require.resolve(`@koromix/koffi-linux-${arch}/package.json`)), `linux_${arch}`, 'koffi.node')
const dist = resolve(root, process.env.TUNLINK_DIST ?? 'dist')
const bun = join(dirname(require.resolve(`${bunPackage}/package.json`)), 'bin', 'bun')

mkdirSync(dist, { recursive: true })
// Made anew, as a running executable cannot be written to; the image beside them stays.
for (const name of ['tunlink', 'tunlink.cjs', 'tunlinkd.cjs']) rmSync(join(dist, name), { force: true })
chmodSync(bun, 0o755)
await bundle('tunlink', 'node20', 'meta.json')
await bundle('tunlinkd', 'node22', 'meta-tunlinkd.json')
execFileSync(
  bun,
  // biome-ignore format: one option a line says more than it helps
  ['build', '--compile', '--minify', '--bytecode', '--no-compile-autoload-dotenv', '--no-compile-autoload-bunfig', join(dist, 'tunlink.cjs'), '--outfile', join(dist, 'tunlink')],
  { cwd: dist, stdio: ['ignore', 'ignore', 'inherit'] },
)
for (const name of ['tunlink', 'tunlink.cjs', 'tunlinkd.cjs'])
  console.log(`dist/${name} ${(statSync(join(dist, name)).size / 1e6).toFixed(1)} MB`)

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
    metafile: true,
  })
  writeFileSync(join(dist, meta), JSON.stringify(metafile))
  chmodSync(outfile, 0o755)
}
