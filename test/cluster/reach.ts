/** Who reaches whom: every failure by name, none when all is well. */
import { spawnSync } from 'node:child_process'
import type { Cluster } from './cluster.ts'
import { API, PORT, SERVICE } from './control-plane.ts'
import { http, type Pod, podCommand, podPings } from './pods.ts'

/** Pods to pods (ping and HTTP), to nodes and to the API server; nodes to pods; in all families. */
export function unreachable(cluster: Cluster, pods: Pod[]): string[] {
  const checks: [string, () => boolean][] = pods.flatMap(from => [
    ...pods.map((to): [string, () => boolean] => [
      `${from.name} -> ${to.name}`,
      () => to.ips.every(ip => podPings(from, ip) && serves(from, to, ip)),
    ]),
    ...cluster.nodes.map((node): [string, () => boolean] => [
      `${from.name} -> node ${node.name}`,
      () => node.addresses.every(address => podPings(from, address)),
    ]),
    [`${from.name} -> API server`, () => connects(podCommand(from), API, PORT)],
    [`${from.name} -> Service kubernetes`, () => connects(podCommand(from), SERVICE, 443)],
  ])
  const fromNodes = cluster.nodes.flatMap(node =>
    pods.map((pod): [string, () => boolean] => [
      `node ${node.name} -> ${pod.name}`,
      () => pod.ips.every(ip => http(node.command(), ip) === pod.name),
    ]),
  )
  return [...checks, ...fromNodes].filter(([, reaches]) => !reaches()).map(([what]) => what)
}

const serves = (from: Pod, to: Pod, ip: string) => http(podCommand(from), ip) === to.name

/** Whether TCP connects. */
export function connects([file, args]: [string, string[]], address: string, port: number): boolean {
  return spawnSync(file, [...args, 'timeout', '3', 'bash', '-c', `exec 3<>/dev/tcp/${address}/${port}`]).status === 0
}
