/** Which versions of CNI a chain of plugins speaks, as the plugins themselves say. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { ChainedPlugins, plainVersion } from '../../src/node/chained.ts'

const test = suite('chained plugins')
let directory: string
test.before.each(() => {
  directory = mkdtempSync(join(tmpdir(), 'tunlink-chained-'))
})
test.after.each(() => rmSync(directory, { recursive: true }))

function script(name: string, body: string): void {
  writeFileSync(join(directory, name), `#!/bin/sh\n${body}\n`)
  chmodSync(join(directory, name), 0o755)
}
/** A plugin that speaks `versions`, asked as the specification says, and writes down each time. */
const speaking = (...versions: string[]) =>
  `[ "$CNI_COMMAND" = VERSION ] && echo asked >>"$0.asked" && echo '${JSON.stringify({ cniVersion: '1.0.0', supportedVersions: versions })}'`

test('ours alone speaks all that is offered', async () => {
  assert.equal(await new ChainedPlugins(directory).spoken([]), { versions: ['0.3.1', '0.4.0', '1.0.0', '1.1.0'], faults: [] })
})
test('of several plugins, what all of them speak', async () => {
  script('portmap', speaking('0.1.0', '0.3.1', '0.4.0', '1.0.0'))
  script('other', speaking('0.4.0', '1.0.0', '1.1.0'))
  assert.equal(await new ChainedPlugins(directory).spoken(['portmap', 'other']), { versions: ['0.4.0', '1.0.0'], faults: [] })
})
for (const [name, body, reason] of [
  ['fails', 'exit 3', /"fails" .* does not tell its versions \(Command failed/],
  ['says nothing', 'exit 0', /"says nothing" .* does not tell its versions \(it printed ""\)/],
  ['is no program', undefined, /"is no program" .* is not in .*no pod can start/],
] as const)
  test(`one that ${name} is told, and 1.1.0 is not offered`, async () => {
    if (body !== undefined) script(name, body)
    const { versions, faults } = await new ChainedPlugins(directory).spoken([name])
    assert.equal(versions, ['0.3.1', '0.4.0', '1.0.0'])
    assert.is(faults.length, 1)
    assert.match(faults[0]!, reason)
  })
test('a plugin is asked once, and again when its file is another one', async () => {
  const plugins = new ChainedPlugins(directory)
  script('portmap', speaking('0.4.0'))
  for (let count = 0; count < 3; count++) assert.equal((await plugins.spoken(['portmap'])).versions, ['0.4.0'])
  script('portmap', `${speaking('0.4.0', '1.0.0', '1.1.0')} # longer`)
  assert.equal((await plugins.spoken(['portmap'])).versions, ['0.4.0', '1.0.0', '1.1.0'])
})
test('a plugin that did not answer is asked again after a while, and not before', async () => {
  script('busy', `[ -e "$0.rest" ] || exit 1; ${speaking('0.4.0', '1.0.0', '1.1.0')}`)
  const [patient, soon] = [new ChainedPlugins(directory), new ChainedPlugins(directory, 0)]
  for (const plugins of [patient, soon]) assert.is((await plugins.spoken(['busy'])).faults.length, 1)
  writeFileSync(join(directory, 'busy.rest'), '')
  assert.is((await patient.spoken(['busy'])).faults.length, 1)
  assert.equal(await soon.spoken(['busy']), { versions: ['0.4.0', '1.0.0', '1.1.0'], faults: [] })
})
test('plainVersion() is 1.0.0 or the highest below, and there must be one', () => {
  assert.is(plainVersion(['0.4.0', '1.0.0', '1.1.0']), '1.0.0')
  assert.is(plainVersion(['0.3.1', '0.4.0']), '0.4.0')
  assert.throws(() => plainVersion(['1.1.0']), /no version of CNI up to 1\.0\.0 in common/)
})

test.run()
