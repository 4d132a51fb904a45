// npm run set-version -- VERSION: writes VERSION into package.json, where the sources read it, and
// into what cannot read it there: the lock file and the manifests.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './target.mjs'

const [version] = process.argv.slice(2)
if (!/^\d+\.\d+\.\d+(-[\w.]+)?$/.test(version ?? ''))
  throw new Error(`Usage: npm run set-version -- VERSION (such as 1.2.3), not ${version}`)

for (const file of ['package.json', 'package-lock.json']) rewrite(file, setPackageVersion)
for (const file of readdirSync(join(root, 'manifests'), { recursive: true }).filter(name => name.endsWith('.yaml')))
  rewrite(join('manifests', file), text =>
    text.replace(/(?<=image: localhost\/tunlink:)\S+/g, version).replace(/(?<=app\.kubernetes\.io\/version: )\S+/g, version),
  )

function setPackageVersion(text) {
  const json = JSON.parse(text)
  json.version = version
  if (json.packages !== undefined) json.packages[''].version = version
  return `${JSON.stringify(json, null, 2)}\n`
}

function rewrite(file, change) {
  const path = join(root, file)
  writeFileSync(path, change(readFileSync(path, 'utf8')))
}
