/**
 * Two pods, one on each node, that say who they are and who asks, with Services before them; and
 * how pods, nodes and a client outside ask.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { resolve } from 'node:path'
import { eventually } from '../support.ts'
import type { Cluster } from './cluster.ts'
import { kubectl } from './control-plane.ts'
import { FABRIC } from './namespaces.ts'
import { http, type Pod, podCommand, podsOf } from './pods.ts'

const WHO = resolve(import.meta.dirname, 'who.ts')
const UDP_PORT = 5300
/** Of the Service `web` for TCP and UDP, and of `web1`. */
export const NODE_PORTS = { web: 30080, udp: 30053, web1: 30081 }

/** /cgi-bin/who has the pod's name and the address that asks. */
const SERVE = `mkdir -p /tmp/www/cgi-bin; cd /tmp/www; hostname >index.html
printf '#!/bin/sh\\necho; echo $(hostname) $REMOTE_ADDR' >cgi-bin/who; chmod +x cgi-bin/who; exec httpd -f -p 8080 -h .`

function pod(name: string, nodeName: string): object {
  const container = {
    name: 'web',
    image: 'localhost/pause:1',
    imagePullPolicy: 'Never',
    command: ['sh', '-c', SERVE],
    readinessProbe: { httpGet: { path: '/', port: 8080 }, periodSeconds: 1 },
  }
  const metadata = { name, labels: { app: 'web', name } }
  return { apiVersion: 'v1', kind: 'Pod', metadata, spec: { nodeName, terminationGracePeriodSeconds: 0, containers: [container] } }
}

const tcp = (nodePort?: number) => ({ name: 'tcp', port: 80, targetPort: 8080, ...(nodePort && { nodePort }) })
const udp = { name: 'udp', protocol: 'UDP', port: 53, targetPort: UDP_PORT, nodePort: NODE_PORTS.udp }

const service = (name: string, spec: object) => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name },
  spec: { ipFamilyPolicy: 'PreferDualStack', ...spec },
})

/**
 * `web` is both pods; `web1` the first alone, which sees its clients' addresses; `web2` the second.
 */
const SERVICES = [
  service('web', { type: 'NodePort', selector: { app: 'web' }, ports: [tcp(NODE_PORTS.web), udp] }),
  service('web1', { type: 'NodePort', externalTrafficPolicy: 'Local', selector: { name: 'web1' }, ports: [tcp(NODE_PORTS.web1)] }),
  service('web2', { selector: { name: 'web2' }, ports: [tcp()] }),
]

/** Both pods, Ready, with the Services before them; each answers UDP too while the test runs. */
export async function deployServices(cluster: Cluster): Promise<[Pod, Pod]> {
  const items = [pod('web1', cluster.nodes[0].name), pod('web2', cluster.nodes[1].name), ...SERVICES]
  kubectl(['apply', '-f', '-'], JSON.stringify({ apiVersion: 'v1', kind: 'List', items }))
  await eventually('both pods are Ready', () => podsOf(cluster, 'web').filter(({ ready }) => ready).length === 2, 90)
  const pods = podsOf(cluster, 'web').sort((a, b) => a.name.localeCompare(b.name)) as [Pod, Pod]
  pods.forEach(answerDatagrams)
  return pods
}

const children: ChildProcess[] = []
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL')
})

function answerDatagrams(pod: Pod): void {
  const [file, args] = podCommand(pod, process.execPath, WHO, 'serve', pod.name, String(UDP_PORT))
  const child = spawn(file, args, { stdio: 'ignore' })
  child.unref() // else the test would wait for it
  children.push(child)
}

/** A Service's addresses, one of each family. */
export function clusterIPs(name: string): string[] {
  const { clusterIP, clusterIPs = [clusterIP] } = JSON.parse(kubectl(['get', 'service', name, '-o', 'json'])).spec
  return clusterIPs
}

/** A command in some network. */
export type From = [string, string[]]

/** The router's network: no node, no pod. */
export const outside: From = ['nsenter', [`--net=/run/netns/${FABRIC}`, '--']]

/** As in `web1 10.244.0.3`: which pod answers, and whom it sees; empty when none does. */
export const who = (from: From, address: string, port: number) =>
  http(from, address, port, '/cgi-bin/who').replace('::ffff:', '').replace(/[[\]]/g, '')

/** who() by UDP. */
export function whoByUdp([file, args]: From, address: string, port: number): string {
  return spawnSync(file, [...args, process.execPath, WHO, 'ask', address, String(port)], { encoding: 'utf8' }).stdout.trim()
}
