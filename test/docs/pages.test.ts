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

/** What README tells to do before. */
const INSTALLED = `install -D -m 755 dist/tunlink /opt/cni/bin/tunlink
mkdir -p /etc/cni/net.d
cat >/etc/cni/net.d/00-tunlink.conflist <<'END'
{"cniVersion":"1.0.0","name":"pods","plugins":[{"type":"tunlink","ipam":{"type":"tunlink","subnet":"10.66.0.0/24"}}]}
END`

test('docs/troubleshooting.md', () => {
  runTutorial('docs/troubleshooting.md', {}, INSTALLED)
})

test.run()
