/**
 * The reference `ptp` plugin as the cluster's network, to compare with: a configuration on each
 * node and a static route to the other.
 */
import { renameSync, writeFileSync } from 'node:fs'
import type { Cluster } from './cluster.ts'

export function ptpInstall(cluster: Cluster, file: string): void {
  for (const node of cluster.nodes) {
    const ipam = { type: 'host-local', ranges: [[{ subnet: cluster.podCIDR(node) }]], routes: [{ dst: '0.0.0.0/0' }] }
    const plugins = [
      { type: 'ptp', ipMasq: false, ipam },
      { type: 'portmap', capabilities: { portMappings: true } },
    ]
    const temporary = node.path(file.replace(/[^/]*$/, '.$&'))
    writeFileSync(temporary, JSON.stringify({ cniVersion: '1.0.0', name: 'ptp', plugins }))
    for (const other of cluster.nodes) if (other !== node) node.run('ip', 'route', 'replace', cluster.podCIDR(other), 'via', other.address)
    renameSync(temporary, node.path(file))
  }
}
