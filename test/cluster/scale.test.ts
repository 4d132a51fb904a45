/** Sixty pods at once, in turns with the reference plugin `ptp` in the same cluster. */

import { rmSync } from 'node:fs'
import * as assert from 'uvu/assert'
import { eventually } from '../support.ts'
import type { Cluster } from './cluster.ts'
import { deploy, undeploy } from './pods.ts'
import { ptpInstall } from './ptp.ts'
import { measured, scenarios } from './scenario.ts'
import { apply, isEmpty, nothingLeft } from './tunlink.ts'

const PODS = 60
const ROUNDS = 2
const PTP = '/etc/cni/net.d/05-ptp.conflist'
const test = scenarios('scale')

/** Seconds until all pods were Ready, and until their links were gone. */
async function round(cluster: Cluster, name: string, gone: () => boolean): Promise<string> {
  const { took, pods: made } = await deploy(cluster, { name, replicas: PODS }, 180)
  assert.is(new Set(made.map(({ ip }) => ip)).size, PODS)
  const started = Date.now()
  await undeploy(cluster, name, 180)
  await eventually('their links are gone', gone, 120)
  return `${(took / 1000).toFixed(1)} s to Ready, ${((Date.now() - started) / 1000).toFixed(1)} s to gone`
}

const veths = (cluster: Cluster) =>
  cluster.nodes.flatMap(node => node.ip('link', 'show', 'type', 'veth')).filter(({ ifname }) => ifname.startsWith('veth'))

test('60 pods at once run, and leave nothing when deleted; ptp in turns', async cluster => {
  await apply(cluster)
  // so that nothing is read from the disk for the first time
  await deploy(cluster, { name: 'warm', replicas: 4 })
  await undeploy(cluster, 'warm')
  for (let turn = 1; turn <= ROUNDS; turn++) {
    measured(`${PODS} pods with tunlink, round ${turn}: ${await round(cluster, `tunlink-${turn}`, () => cluster.nodes.every(isEmpty))}`)
    await usePtp(cluster)
    measured(`${PODS} pods with ptp, round ${turn}:     ${await round(cluster, `ptp-${turn}`, () => veths(cluster).length === 0)}`)
    for (const node of cluster.nodes) rmSync(node.path(PTP))
    await settled()
  }
  await nothingLeft(cluster)
})

async function usePtp(cluster: Cluster): Promise<void> {
  ptpInstall(cluster, PTP)
  await settled()
}

/** containerd reads the directory at each change of it. */
const settled = () => new Promise(done => setTimeout(done, 1000))

test.run()
