// `npm run site`: the documentation as a static site, in dist/site. SITE_BASE is the path where it
// will be served, / unless set.
import { build } from 'vitepress'
import { writePages } from './pages.mjs'

writePages()
await build(import.meta.dirname)
