import { pages, published, titleOf } from '../pages.mjs'

const TUTORIALS = ['docs/tutorials/README.md', 'docs/tutorials/first-link.md', /^docs\/tutorials\//]

const GROUPS = [
  ['Start', ['README.md', 'docs/installation.md', ...TUTORIALS]],
  ['Use', ['docs/configuration.md', 'docs/command-line.md', 'docs/kubernetes.md', 'docs/troubleshooting.md', 'docs/library.md']],
  ['Understand', ['docs/architecture.md', 'docs/decisions/README.md', 'docs/comparison.md', 'docs/performance.md', 'docs/reliability.md']],
  ['Trust', ['SECURITY.md', 'docs/compatibility.md', 'docs/environment.md', 'docs/supply-chain.md', 'licences/bun.md']],
  ['Carry on', ['CONTRIBUTING.md', 'CHANGELOG.md', /^docs\/decisions\//]],
]

/** Each page stands in the first group that names it; a new one, that none names, in the last. */
function sidebar() {
  const left = new Set(pages())
  const take = wanted => [...left].filter(page => (wanted instanceof RegExp ? wanted.test(page) : wanted === page))
  const groups = GROUPS.map(([text, wanted]) => ({
    text,
    items: wanted.flatMap(take).flatMap(page => (left.delete(page) ? [item(page)] : [])),
  }))
  groups.at(-1).items.push(...[...left].map(item))
  return groups
}

const item = page => ({ text: titleOf(page), link: `/${published(page).replace(/(index)?\.md$/, '')}` })

/** Anchors as GitHub makes them, for which the pages' links are written. */
const slugify = heading =>
  heading
    .trim()
    .toLowerCase()
    .replaceAll(/[^\p{L}\d _-]/gu, '')
    .replaceAll(' ', '-')

export default {
  title: 'tunlink',
  description: 'A CNI plugin that gives a pod a true point-to-point network link',
  srcDir: '.pages',
  outDir: '../../dist/site',
  cacheDir: 'node_modules/.cache',
  base: process.env.SITE_BASE ?? '/',
  // none: a browser would ask for /favicon.ico
  head: [['link', { rel: 'icon', href: 'data:,' }]],
  markdown: { anchor: { slugify } },
  themeConfig: {
    sidebar: sidebar(),
    outline: [2, 3],
    search: { provider: 'local' },
    nav: [
      { text: 'Configuration', link: '/docs/configuration' },
      { text: 'Troubleshooting', link: '/docs/troubleshooting' },
      { text: 'Architecture', link: '/docs/architecture' },
    ],
  },
}
