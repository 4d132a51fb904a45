/**
 * Tests that share one cluster, in order; the first that fails shows what the cluster looked like,
 * and those after it are not run.
 */
import { suite } from 'uvu'
import type { Cluster, ClusterOptions } from './cluster.ts'
import { kubectlTry } from './control-plane.ts'
import { removeAll } from './namespaces.ts'
import { clusterUp } from './tunlink.ts'

export interface Scenarios {
  (name: string, body: (cluster: Cluster) => Promise<void>): void
  run: () => void
}

export function scenarios(name: string, options: ClusterOptions = {}): Scenarios {
  const tests = suite(name)
  let cluster: Cluster
  tests.before(async () => {
    cluster = await clusterUp(options)
  })
  tests.after(() => {
    if (process.env.TUNLINK_KEEP_CLUSTER === undefined) removeAll()
  })
  let failed: string | undefined
  const add = (title: string, body: (cluster: Cluster) => Promise<void>) =>
    tests(title, async () => {
      if (failed !== undefined) throw new Error(`Not run, as "${failed}" failed before`)
      try {
        await body(cluster)
      } catch (error) {
        failed = title
        diagnose(title, cluster)
        throw error
      }
    })
  return Object.assign(add, { run: () => tests.run() })
}

/** Printed when a test passes, too. */
export const measured = (text: string) => console.log(`measured: ${text}`)

const show = (...args: string[]) => {
  const { stdout, stderr } = kubectlTry(...args)
  console.log(`$ kubectl ${args.join(' ')}\n${stdout}${stderr}`)
}

function diagnose(title: string, cluster: Cluster): void {
  console.log(`== after the failure of "${title}"`)
  show('get', 'nodes')
  show('get', 'pods', '-A', '-o', 'wide')
  show('get', 'events', '-A', '--sort-by=.lastTimestamp')
  show('logs', '-n', 'tunlink-system', '-l', 'app.kubernetes.io/name=tunlink', '--prefix', '--tail=30')
  for (const node of cluster.nodes) {
    for (const log of ['kubelet', 'containerd'])
      console.log(
        `== ${node.name} ${log}\n${node
          .log(log, 400)
          .split('\n')
          .filter(line => /cni|network|tunlink/i.test(line))
          .slice(-15)
          .join('\n')}`,
      )
    console.log(`== ${node.name}\n${node.run('ip', '-br', 'address')}${node.run('ip', 'route')}`)
  }
}
