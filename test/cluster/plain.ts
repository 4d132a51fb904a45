/**
 * Plain routing between the nodes, to compare with: a network namespace on each, a veth pair, and a
 * static route to the other. No plugin knows of it.
 */
import { spawn } from 'node:child_process'
import { eventually } from '../support.ts'
import type { Cluster } from './cluster.ts'
import type { Machine } from './machine.ts'
import type { Pod } from './pods.ts'

/** Two that are like pods to a Transfer; they end with the nodes. */
export async function plainPair(cluster: Cluster): Promise<[Pod, Pod]> {
  const [one, two] = cluster.nodes
  const pods = [await plainPod(one, '10.250.1'), await plainPod(two, '10.250.2')] as const
  one.run('ip', 'route', 'replace', '10.250.2.0/24', 'via', two.address)
  two.run('ip', 'route', 'replace', '10.250.1.0/24', 'via', one.address)
  return [...pods]
}

/** On the node's network `net`.0/24. */
async function plainPod(node: Machine, net: string): Promise<Pod> {
  const [file, args] = node.command('unshare', '-n', 'sleep', '100000')
  const child = spawn(file, args, { stdio: 'ignore', detached: true })
  child.unref()
  const pid = child.pid!
  const ip = `${net}.2`
  const inside = (...command: string[]) => node.run('nsenter', '-t', String(pid), '-n', '--', ...command)
  await eventually('the namespace is there', () => node.run('readlink', `/proc/${pid}/exe`).includes('sleep'), 10)
  node.run('ip', 'link', 'add', 'plain0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', String(pid))
  node.run('ip', 'address', 'add', `${net}.1/24`, 'dev', 'plain0')
  node.run('ip', 'link', 'set', 'plain0', 'up')
  node.run('sysctl', '-qw', 'net.ipv4.conf.plain0.forwarding=1')
  inside('ip', 'address', 'add', `${ip}/24`, 'dev', 'eth0')
  inside('ip', 'link', 'set', 'eth0', 'up')
  inside('ip', 'route', 'add', 'default', 'via', `${net}.1`)
  return { name: `plain on ${node.name}`, ip, ips: [ip], node, ready: true, pid }
}
