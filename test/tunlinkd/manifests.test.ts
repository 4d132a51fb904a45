/** The manifests: what is the same twice, and what a container may do. */
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { help } from '../../src/node/options.ts'

const test = suite('manifests')
const directory = join(import.meta.dirname, '../../manifests')
const read = (name: string) => readFileSync(join(directory, name), 'utf8')

test('manifests/tunlink.yaml is a file, and manifests/base has the same: cp manifests/tunlink.yaml manifests/base/', () => {
  assert.ok(statSync(join(directory, 'tunlink.yaml')).isFile())
  assert.not(readFileSync(join(directory, 'tunlink.yaml'), 'utf8').startsWith('base/'))
  assert.is(read('base/tunlink.yaml'), read('tunlink.yaml'))
})
test('every variable that a manifest sets is one that tunlinkd reads', () => {
  const overlays = readdirSync(join(directory, 'overlays')).map(name => `overlays/${name}/daemonset.yaml`)
  for (const name of ['tunlink.yaml', ...overlays]) {
    for (const [, variable] of read(name).matchAll(/- name: TUNLINK_(\w+)$/gm)) {
      const flag = `--${variable!.toLowerCase().replaceAll('_', '-')} `
      assert.ok(variable === 'PROC_SYS' || help('1').includes(flag), `${name}: TUNLINK_${variable}`)
    }
  }
})
test('no container is privileged; each has two capabilities, and no mount of a directory that others keep their state in', () => {
  for (const name of ['tunlink.yaml', 'uninstall.yaml']) {
    const text = read(name)
    assert.not.match(text, /privileged: true|hostPID|hostIPC/)
    for (const [, capabilities] of text.matchAll(/add: \[(.*)\]/g)) assert.is(capabilities, 'NET_ADMIN, SYS_ADMIN')
    const paths = [...text.matchAll(/^ +path: (\/\S+)$/gm)].map(([, path]) => path!)
    assert.ok(paths.length > 3)
    for (const path of paths)
      assert.not(['/', '/run', '/var/run', '/etc', '/opt', '/proc', '/dev', '/var'].includes(path), `${name}: ${path}`)
  }
})

test.run()
