/**
 * A node loses its power: processes, namespaces and /run go; its disk, and so its pods, come back.
 */
import * as assert from 'uvu/assert'
import { eventually } from '../support.ts'
import { deploy, type Pod, podsOf, undeploy } from './pods.ts'
import { unreachable } from './reach.ts'
import { measured, scenarios } from './scenario.ts'
import { apply, nothingLeft, traces } from './tunlink.ts'

const test = scenarios('reboot')

test('the pods of a rebooted node come back and reach all, no lease is leaked', async cluster => {
  const two = cluster.nodes[1]
  await apply(cluster)
  const before = (await deploy(cluster, { name: 'web', replicas: 8 })).pods
  const started = Date.now()
  two.stop()
  two.start()
  const back = (): Pod[] => podsOf(cluster, 'web').filter(pod => pod.ready && pod.pid > 0 && !before.some(({ pid }) => pid === pod.pid))
  await eventually(
    'the pods of the node run again',
    () => two.succeeds('ctr', 'version') && back().filter(({ node }) => node === two).length === 4,
    120,
  )
  await eventually('and all reach all', () => unreachable(cluster, podsOf(cluster, 'web')).length === 0, 30).catch(() =>
    assert.equal(unreachable(cluster, podsOf(cluster, 'web')), []),
  )
  measured(`power cut until the node's 4 pods were Ready and reached: ${((Date.now() - started) / 1000).toFixed(1)} s`)
  const { leases, records, links } = traces(two)
  assert.equal([leases.length, records.length, links.length], [4, 4, 4])
  const live = podsOf(cluster, 'web').filter(({ node }) => node === two)
  assert.equal(leases.sort(), live.map(({ ip }) => ip).sort())
})

test('deleted afterwards, they leave nothing', async cluster => {
  await undeploy(cluster, 'web')
  await nothingLeft(cluster)
})

test.run()
