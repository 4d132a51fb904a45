/** Each page that tells its reader to type something: its commands are run, see tutorial.ts. */
import { execFileSync } from 'node:child_process'
import { resolve } from 'node:path'
import { suite } from 'uvu'
import { runTutorial } from './tutorial.ts'

const test = suite('pages')

/** There is no network apart, and `npm ci` has been run: test/setup does it. */
const NPM_CI_IS_DONE = 'npm() { [ "$*" = ci ] || command npm "$@"; }; touch node_modules/.package-lock.json'

/** podman, cnitool and an image: installed and built once; the directory of the latter. */
const clients = () => execFileSync(resolve(import.meta.dirname, '../clients/setup'), { encoding: 'utf8' }).trim()

test('README.md', () => {
  runTutorial('README.md', {}, NPM_CI_IS_DONE)
})

test('docs/tutorials/first-link.md', () => {
  runTutorial('docs/tutorials/first-link.md')
})

/**
 * podman and an image without a network: test/clients/setup has installed the packages. There is no
 * systemd apart, and no file system below which overlays could lie.
 */
const PODMAN_APART = `apt-get() { :; }
rm -f /etc/cni/net.d/* /etc/containers/containers.conf
mkdir -p /etc/containers/containers.conf.d
cat >/etc/containers/containers.conf.d/apart.conf <<'END'
[containers]
apparmor_profile = ""
default_ulimits = []
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
lock_type = "file"
END
cat >/etc/containers/storage.conf <<'END'
[storage]
driver = "vfs"
graphroot = "/mnt/storage"
runroot = "/run/storage"
END
podman import --quiet "$IMAGE" docker.io/library/busybox`

test('docs/tutorials/podman.md', () => {
  runTutorial('docs/tutorials/podman.md', { IMAGE: `${clients()}/image.tar` }, PODMAN_APART)
})

test('docs/installation.md', () => {
  const path = `${clients()}:${process.env.PATH}`
  runTutorial('docs/installation.md', { PATH: path }, `${NPM_CI_IS_DONE}\nrm -f /etc/cni/net.d/*`)
})

test('CONTRIBUTING.md', () => {
  const packages = resolve(import.meta.dirname, '../packages.sh')
  execFileSync('bash', ['-c', `. "${packages}" && install_packages strace >&2`], { stdio: ['ignore', 'ignore', 'pipe'] })
  runTutorial('CONTRIBUTING.md')
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
