/**
 * Lays the repository's pages out for VitePress: README.md and docs/README.md of a directory become
 * its index, and what a link names beside pages is published with it.
 */
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'

export const ROOT = resolve(import.meta.dirname, '../..')
export const PAGES = join(import.meta.dirname, '.pages')

/** Paths of all pages from the root of the repository. */
export function pages() {
  const docs = readdirSync(join(ROOT, 'docs'), { recursive: true }).map(name => join('docs', name))
  const found = docs.filter(name => name.endsWith('.md') && !name.startsWith('docs/site/'))
  return ['README.md', 'CHANGELOG.md', 'CONTRIBUTING.md', 'SECURITY.md', 'licences/bun.md', ...found.sort()]
}

/** Where a page is published: directories begin with their README. */
export const published = page => page.replace(/README\.md$/, 'index.md')

export function titleOf(page) {
  return /^# (.*)$/m.exec(readFileSync(join(ROOT, page), 'utf8'))[1]
}

/** Writes all pages, with their links, below PAGES. */
export function writePages() {
  rmSync(PAGES, { recursive: true, force: true })
  for (const page of pages()) {
    const file = join(PAGES, published(page))
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, withLinks(page, readFileSync(join(ROOT, page), 'utf8')))
  }
}

/** Markdown links, not those in code. */
const withLinks = (page, text) =>
  text
    .split(/(^```.*?^```$|`[^`\n]*`)/ms)
    .map((part, at) =>
      at % 2 === 1 ? part : part.replaceAll(/\]\(([^)#\s]+)((?:#[^)]*)?)\)/g, (_, target, anchor) => `](${linkOf(page, target)}${anchor})`),
    )
    .join('')

function linkOf(page, target) {
  if (/^[a-z]+:/.test(target)) return target
  const path = relative(ROOT, resolve(ROOT, dirname(page), target))
  const file = join(ROOT, path)
  if (existsSync(file) && statSync(file).isDirectory()) return linkOf(page, join(target, 'README.md'))
  if (pages().includes(path)) return published(target)
  if (!existsSync(file)) throw new Error(`${page} links to ${target}, which is not there`)
  return publish(path)
}

/** Copies a file that is no page: as an asset beside the pages, or as a text for a browser. */
function publish(path) {
  const name = /\.\w+$/.test(path) ? path : `${path}.txt`
  const place = path.endsWith('.svg') ? PAGES : join(PAGES, 'public')
  mkdirSync(dirname(join(place, name)), { recursive: true })
  cpSync(join(ROOT, path), join(place, name))
  return `/${name}`
}
