// npm run sbom: dist/sbom.cdx.json, what dist/tunlink, tunlink.cjs and tunlinkd.cjs consist of, in
// CycloneDX. npm knows the packages of the lock file with their licences and hashes; esbuild's
// metafiles say which of them have a file in a bundle. The runtime is beside them. The same sources
// give the same bytes: no time, no random number.
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { bunPackage, dist, root } from '../release/target.mjs'

const bundled = new Set([bunPackage, 'koffi', ...['meta.json', 'meta-tunlinkd.json'].flatMap(packagesOf)])
const all = JSON.parse(
  execFileSync('npm', ['sbom', '--sbom-format=cyclonedx', '--sbom-type=application', '--package-lock-only', '--omit=dev'], {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  }),
)
const components = all.components.filter(({ name }) => bundled.has(name))
const missing = [...bundled].filter(name => !components.some(component => component.name === name))
if (missing.length > 0) throw new Error(`The lock file has no ${missing.join(', ')}, which a bundle holds`)
const kept = new Set([all.metadata.component['bom-ref'], ...components.map(component => component['bom-ref'])])
const { serialNumber, metadata, dependencies, ...rest } = all
const sbom = {
  ...rest,
  metadata: { lifecycles: [{ phase: 'build' }], tools: metadata.tools, component: { ...metadata.component, name: 'tunlink' } },
  components,
  dependencies: dependencies
    .filter(({ ref }) => kept.has(ref))
    .map(({ ref, dependsOn = [] }) => ({ ref, dependsOn: dependsOn.filter(other => kept.has(other)) })),
}
writeFileSync(join(dist, 'sbom.cdx.json'), `${JSON.stringify(sbom, null, 2)}\n`)
console.log(`dist/sbom.cdx.json ${components.length} packages`)

/** Names of the packages that have a file among a bundle's inputs. */
function packagesOf(meta) {
  const { inputs } = JSON.parse(readFileSync(join(dist, meta), 'utf8'))
  return Object.keys(inputs).flatMap(path => /^.*node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1] ?? [])
}
