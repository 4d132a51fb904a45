/** `npm run docs`: writes what is made of the tables. */
import { writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { jsonSchema } from './json-schema.ts'
import { configurationPage } from './markdown.ts'

/** Paths from the root of the repository, and what is in them. */
export const generated = (): Record<string, string> => ({
  'docs/configuration.md': configurationPage(),
  'docs/schema/tunlink.schema.json': `${JSON.stringify(jsonSchema(), null, 2)}\n`,
})

if (import.meta.main) {
  for (const [path, text] of Object.entries(generated())) writeFileSync(join(resolve(import.meta.dirname, '../..'), path), text)
}
