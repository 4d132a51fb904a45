/** Each page that tells its reader to type something: its commands are run, see tutorial.ts. */
import { suite } from 'uvu'
import { runTutorial } from './tutorial.ts'

const test = suite('pages')

/** There is no network apart, and `npm ci` has been run: test/setup does it. */
const NPM_CI_IS_DONE = 'npm() { [ "$*" = ci ] || command npm "$@"; }'

test('README.md', () => {
  runTutorial('README.md', {}, NPM_CI_IS_DONE)
})

test('docs/tutorials/first-link.md', () => {
  runTutorial('docs/tutorials/first-link.md')
})

test.run()
