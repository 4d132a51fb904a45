/**
 * Pods that serve HTTP, and what the tests ask of them. Their commands run in the pod's network
 * namespace, entered from outside.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { eventually } from '../support.ts'
import type { Cluster } from './cluster.ts'
import { kubectl } from './control-plane.ts'
import type { Machine } from './machine.ts'

export interface Pod {
  name: string
  /** The first of `ips`. */
  ip: string
  /** One of each family that the cluster has. */
  ips: string[]
  node: Machine
  ready: boolean
  /** A process of its container; its network namespace is the pod's. */
  pid: number
}

export interface DeploymentOptions {
  name: string
  replicas: number
  /** Of its node, for a hostPort. */
  hostPort?: number
  node?: string
}

/**
 * The pods answer HTTP on port 8080 with their names, and are Ready when the kubelet has seen that.
 */
export function deployment({ name, replicas, hostPort, node }: DeploymentOptions): string {
  const serve = 'mkdir -p /tmp/www && hostname >/tmp/www/index.html && exec httpd -f -p 8080 -h /tmp/www'
  const container = {
    name: 'web',
    image: 'localhost/pause:1',
    imagePullPolicy: 'Never',
    command: ['sh', '-c', serve],
    ports: [{ containerPort: 8080, ...(hostPort && { hostPort }) }],
    readinessProbe: { httpGet: { path: '/', port: 8080 }, periodSeconds: 1 },
    livenessProbe: { httpGet: { path: '/', port: 8080 }, periodSeconds: 10, failureThreshold: 3 },
  }
  // evenly over the nodes, whatever the scheduler makes of the resources
  const spread = {
    maxSkew: 1,
    topologyKey: 'kubernetes.io/hostname',
    whenUnsatisfiable: 'DoNotSchedule',
    labelSelector: { matchLabels: { app: name } },
  }
  const spec = {
    terminationGracePeriodSeconds: 0,
    topologySpreadConstraints: [spread],
    containers: [container],
    ...(node && { nodeName: node }),
  }
  return JSON.stringify({
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name },
    spec: { replicas, selector: { matchLabels: { app: name } }, template: { metadata: { labels: { app: name } }, spec } },
  })
}

/** Applies a Deployment and waits until every pod is Ready; milliseconds in `took`. */
export async function deploy(cluster: Cluster, options: DeploymentOptions, seconds = 90): Promise<{ pods: Pod[]; took: number }> {
  const started = Date.now()
  kubectl(['apply', '-f', '-'], deployment(options))
  await eventually(`${options.replicas} pods of ${options.name} are Ready`, () => allReady(cluster, options), seconds)
  return { pods: podsOf(cluster, options.name), took: Date.now() - started }
}

const allReady = (cluster: Cluster, { name, replicas }: DeploymentOptions) =>
  statuses(cluster, name).filter(({ ready }) => ready).length === replicas

/** Deletes a Deployment and waits until its pods are gone; milliseconds. */
export async function undeploy(cluster: Cluster, name: string, seconds = 90): Promise<number> {
  const started = Date.now()
  kubectl(['delete', 'deployment', name, '--wait=false'])
  await eventually(`the pods of ${name} are gone`, () => statuses(cluster, name).length === 0, seconds)
  return Date.now() - started
}

interface Status {
  name: string
  ip: string
  ips: string[]
  node: Machine
  ready: boolean
  container: string
}

/** As the API server sees them; those being deleted count until they are gone. */
export function statuses(cluster: Cluster, app: string): Status[] {
  const { items } = JSON.parse(kubectl(['get', 'pods', '-l', `app=${app}`, '-o', 'json']))
  // biome-ignore lint/suspicious/noExplicitAny: a Pod
  return items.map(({ metadata, spec, status }: any) => ({
    name: metadata.name,
    ip: status.podIP ?? '',
    ips: (status.podIPs ?? []).map(({ ip }: { ip: string }) => ip),
    node: cluster.nodes.find(({ name }) => name === spec.nodeName),
    ready: status.conditions?.some(
      (condition: { type: string; status: string }) => condition.type === 'Ready' && condition.status === 'True',
    ),
    container: (status.containerStatuses?.[0]?.containerID ?? '').replace('containerd://', ''),
  }))
}

/** With the process ID of each running container, which containerd knows. */
export function podsOf(cluster: Cluster, app: string): Pod[] {
  const pids = new Map(cluster.nodes.flatMap(tasks))
  return statuses(cluster, app).map(({ container, ...status }) => ({ ...status, pid: pids.get(container) ?? 0 }))
}

function tasks(node: Machine): [string, number][] {
  const lines = node.run('ctr', '-n', 'k8s.io', 'tasks', 'list').trim().split('\n').slice(1)
  return lines.map(line => line.split(/\s+/)).map(([id, pid]) => [id!, Number(pid)])
}

/** A command of the machine's in the pod's network. */
export const podCommand = (pod: Pod, ...command: string[]): [string, string[]] => [
  'nsenter',
  ['-t', String(pod.pid), '-n', '--', ...command],
]

export const inPod = (pod: Pod, ...command: string[]) => execFileSync(...podCommand(pod, ...command), { encoding: 'utf8' })

export const podPings = (pod: Pod, address: string) => spawnSync(...podCommand(pod, 'ping', '-c', '1', '-W', '2', address)).status === 0

/**
 * The last line of what the pod or node at the other end serves; empty when nothing answers within
 * 3 s. `from` is a command in its network.
 */
export function http(from: [string, string[]], address: string, port = 8080, path = '/'): string {
  const [file, args] = from
  const request = `GET ${path} HTTP/1.0\r\n\r\n`
  const { stdout } = spawnSync(file, [...args, 'busybox', 'nc', '-w', '3', address, String(port)], { input: request, encoding: 'utf8' })
  return stdout.trim().split('\n').at(-1) ?? ''
}
