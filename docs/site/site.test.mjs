/**
 * The built site in headless Chromium: each page renders without an error, each link leads
 * somewhere, and nothing is asked of any other host. Pictures are left in dist/site-pictures.
 */
import { mkdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { createServer } from 'node:http'
import { extname, join } from 'node:path'
import { chromium } from 'playwright-core'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { pages, published, ROOT, titleOf } from './pages.mjs'

const SITE = join(ROOT, 'dist/site')
const PICTURES = join(ROOT, 'dist/site-pictures')
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml', '.json': 'application/json' }
const QUIET = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking']
const OPTIONS = [...QUIET, '--disable-component-update', '--disable-sync']
const WIDTHS = { wide: 1280, phone: 390 }

const test = suite('site')
const server = createServer(serve)
let browser
let origin

/** A file of the site, as any web server would find it. */
function serve(request, response) {
  const path = decodeURIComponent(new URL(request.url, 'http://site').pathname)
  const file = [path, `${path}.html`, join(path, 'index.html')].map(name => join(SITE, name)).find(isFile)
  response.writeHead(file === undefined ? 404 : 200, { 'content-type': TYPES[extname(file ?? '.html')] ?? 'application/octet-stream' })
  response.end(file === undefined ? 'not found' : readFileSync(file))
}

const isFile = path => statSync(path, { throwIfNoEntry: false })?.isFile() ?? false

test.before(async () => {
  rmSync(PICTURES, { recursive: true, force: true })
  mkdirSync(PICTURES, { recursive: true })
  await new Promise(done => server.listen(0, '127.0.0.1', done))
  origin = `http://127.0.0.1:${server.address().port}`
  browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: OPTIONS })
})

test.after(async () => {
  await browser?.close()
  server.close()
})

const addressOf = page => `${origin}/${published(page).replace(/(index)?\.md$/, '')}`

/** Links of the pages: address without anchor, and the anchors that are named there. */
const links = new Map()
/** Anchors of each page, by its address. */
const anchors = new Map()

for (const page of pages()) {
  test(`${page} renders`, async () => {
    const faults = []
    const tab = await browser.newPage({ viewport: { width: WIDTHS.wide, height: 900 } })
    tab.on('pageerror', error => faults.push(error.message))
    tab.on('console', message => message.type() === 'error' && faults.push(message.text()))
    tab.on('request', request => /^data:/.test(request.url()) || request.url().startsWith(origin) || faults.push(`asks ${request.url()}`))
    await tab.goto(addressOf(page), { waitUntil: 'networkidle' })
    assert.equal(faults, [])
    assert.is((await tab.locator('main h1').first().textContent()).replace('\u200b', '').trim(), titleOf(page).replaceAll('`', ''))
    assert.is(await tab.evaluate('document.documentElement.scrollWidth <= innerWidth'), true, 'nothing sticks out')
    anchors.set(tab.url().replace(/#.*/, ''), await tab.evaluate('[...document.querySelectorAll("[id]")].map(({ id }) => id)'))
    for (const href of await tab.evaluate(
      '[...document.querySelectorAll("main a[href], aside a[href], header a[href]")].map(({ href }) => href)',
    )) {
      const [address, anchor] = href.split('#')
      if (!address.startsWith(origin)) continue
      links.set(address, [...(links.get(address) ?? []), { page, anchor: decodeURIComponent(anchor ?? '') }])
    }
    await tab.screenshot({ path: join(PICTURES, `${page.replaceAll('/', '-')}.png`) })
    await tab.setViewportSize({ width: WIDTHS.phone, height: 844 })
    assert.is(await tab.evaluate('document.documentElement.scrollWidth <= innerWidth'), true, 'nothing sticks out on a phone')
    await tab.close()
  })
}

test('all links lead somewhere', async () => {
  assert.ok(links.size >= pages().length)
  for (const [address, uses] of links) {
    const { status } = await fetch(address)
    assert.is(status, 200, `${address}, linked by ${uses[0].page}`)
    const known = anchors.get(address) ?? anchors.get(`${address}.html`) ?? anchors.get(address.replace(/\.html$/, ''))
    for (const { page, anchor } of uses)
      if (anchor !== '' && known !== undefined) assert.ok(known.includes(anchor), `${page} links to ${address}#${anchor}`)
  }
})

test('the search finds a key of the configuration', async () => {
  const tab = await browser.newPage()
  await tab.goto(`${origin}/`, { waitUntil: 'networkidle' })
  await tab.locator('.DocSearch-Button, .VPNavBarSearch button').first().click()
  await tab.locator('#localsearch-input').fill('idleSeconds')
  await tab.locator('.result').first().waitFor()
  assert.match(await tab.locator('.result').first().textContent(), /agent|Configuration/i)
  await tab.close()
})

test.run()
