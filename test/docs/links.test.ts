/** Links of the pages: files that are there, and headings that are in them. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

const ROOT = resolve(import.meta.dirname, '../..')
const test = suite('links')
const pages = ['.', 'docs', 'licences'].flatMap(directory =>
  readdirSync(join(ROOT, directory), { recursive: directory !== '.' })
    .map(name => join(directory, String(name)))
    .filter(name => name.endsWith('.md') && !/node_modules|\.pages/.test(name)),
)

const withoutCode = (text: string) => text.replaceAll(/^ *```.*?^ *```$|^ {4}[^\n]*$|`[^`\n]*`/gms, '')

/** As GitHub and the site make them of headings. */
function anchorsOf(page: string): string[] {
  const headings = [...readFileSync(page, 'utf8').matchAll(/^#+ (.*)$/gm)].map(([, heading]) => heading!)
  return headings.map(heading =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\d _-]/gu, '')
      .replaceAll(' ', '-'),
  )
}

const linksOf = (page: string) =>
  [...withoutCode(readFileSync(join(ROOT, page), 'utf8')).matchAll(/\]\(\s*([^)\s]+)\)/g)].map(([, target]) => target!)

for (const page of pages) {
  test(page, () => {
    for (const target of linksOf(page)) {
      if (/^[a-z]+:/.test(target)) continue
      const [path, anchor] = target.split('#')
      const file = path === '' ? join(ROOT, page) : join(ROOT, dirname(page), path!)
      assert.ok(existsSync(file), `${page} links to ${target}`)
      if (anchor !== undefined) assert.ok(anchorsOf(file).includes(anchor), `${page} links to ${target}`)
    }
  })
}

test('there are pages', () => assert.ok(pages.length > 10))
test('links are found, behind indented lines too', () => assert.ok(linksOf('README.md').length >= 15))

test.run()
