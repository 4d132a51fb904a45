/** tunlink in the cluster: applied as a user applies it, and what it leaves on a node. */
import { execFileSync } from 'node:child_process'
import { type Dirent, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { resolve } from 'node:path'
import { eventually } from '../support.ts'
import { Cluster, type ClusterOptions } from './cluster.ts'
import { kubectl } from './control-plane.ts'
import type { Machine } from './machine.ts'

const root = resolve(import.meta.dirname, '../..')
export const MANIFEST = resolve(root, 'manifests/tunlink.yaml')
const UNINSTALL = resolve(root, 'manifests/uninstall.yaml')
export const OVERLAYS = resolve(root, 'manifests/overlays')
const IMAGE = resolve(root, 'dist/tunlink-image.tar')
const NEXT_VERSION = `${JSON.parse(readFileSync(resolve(root, 'package.json'), 'utf8')).version}-next`
/** Everything of ours; with COMPONENT, tunlinkd alone. */
export const SELECTOR = 'app.kubernetes.io/name=tunlink'
const COMPONENT = `${SELECTOR},app.kubernetes.io/component=node`

/** A cluster whose nodes have the image, as no registry is asked. */
export const clusterUp = (options: ClusterOptions = {}) => Cluster.up({ images: [IMAGE], ...options })

/**
 * kubectl apply -f manifests/tunlink.yaml, or -k an overlay; milliseconds from there until both
 * nodes are Ready.
 */
export async function apply(cluster: Cluster, overlay?: string): Promise<number> {
  const started = Date.now()
  kubectl(['apply', ...(overlay === undefined ? ['-f', MANIFEST] : ['-k', resolve(OVERLAYS, overlay)])])
  await cluster.ready()
  const took = Date.now() - started
  rollout()
  return took
}

export interface Daemon {
  name: string
  namespace: string
  serviceAccount: string
  node: Machine
  image: string
  /** Its container runs. */
  started: boolean
  ready: boolean
  /** The tunlinkd in it. */
  pid: number
}

/** The DaemonSet's pods. */
export function daemons(cluster: Cluster): Daemon[] {
  const { items } = JSON.parse(kubectl(['get', 'pods', '-A', '-l', COMPONENT, '-o', 'json']))
  // biome-ignore lint/suspicious/noExplicitAny: a Pod
  return items.map(({ metadata, spec, status }: any) => {
    const node = cluster.nodes.find(({ name }) => name === spec.nodeName)!
    const { containerID = '', ready = false, started = false } = status.containerStatuses?.[0] ?? {}
    const { image } = spec.containers[0]
    const pid = ready ? taskPid(node, containerID.replace('containerd://', '')) : 0
    return { name: metadata.name, namespace: metadata.namespace, serviceAccount: spec.serviceAccountName, node, image, started, ready, pid }
  })
}

/** What the nodes' agents say of themselves. */
export const agents = (cluster: Cluster): { pid: number; wire: string; version: string }[] =>
  cluster.nodes.map(node => JSON.parse(node.run('/opt/cni/bin/tunlink', 'status')))

/**
 * Process IDs of a node's agent as this machine numbers them: an agent in tunlinkd's container
 * knows itself by another one.
 */
export function agentPids(node: Machine): number[] {
  const netns = statSync(`/run/netns/${node.netns}`).ino
  return readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .filter(name => {
      try {
        const isAgent = /\/tunlink\0agent\0/.test(readFileSync(`/proc/${name}/cmdline`, 'utf8'))
        return isAgent && statSync(`/proc/${name}/ns/net`).ino === netns
      } catch {
        return false // it has ended meanwhile
      }
    })
    .map(Number)
}

function taskPid(node: Machine, id: string): number {
  const line = node
    .run('ctr', '-n', 'k8s.io', 'tasks', 'list')
    .split('\n')
    .find(text => text.startsWith(id))
  return Number(line?.split(/\s+/)[1] ?? 0)
}

export const daemonLogs = (daemon: Daemon) => kubectl(['-n', daemon.namespace, 'logs', daemon.name])

/** The messages of the events that tunlinkd wrote. */
export function events(): string[] {
  const { items } = JSON.parse(kubectl(['get', 'events', '-A', '-o', 'json']))
  // biome-ignore lint/suspicious/noExplicitAny: an Event
  return items.filter(({ source }: any) => source?.component === 'tunlinkd').map(({ message }: any) => message)
}

/** `daemonset/NAME` with its namespace, as arguments of kubectl. */
export function daemonSet(): [string, string, string] {
  const [item] = JSON.parse(kubectl(['get', 'daemonsets', '-A', '-l', COMPONENT, '-o', 'json'])).items
  return ['-n', item.metadata.namespace, `daemonset/${item.metadata.name}`]
}

/** Waits until all of the DaemonSet's pods are of its newest template and ready. */
export function rollout(): void {
  const [flag, namespace, name] = daemonSet()
  kubectl([flag, namespace, 'rollout', 'status', '--timeout=100s', name])
}

/** What pods leave behind; all empty when no pod is there. */
export interface Traces {
  links: string[]
  records: string[]
  /** Addresses. */
  leases: string[]
  owners: string[]
  /** Of nft sets with an element per pod. */
  elements: string[]
}

export function traces(node: Machine): Traces {
  const links = node.ip('link').map(({ ifname }: { ifname: string }) => ifname)
  const ipam = files(node.path('/run/tunlink/ipam'))
  const isOwners = (path: string) => path.endsWith('/.owners')
  return {
    links: links.filter((name: string) => name.startsWith('tl')),
    records: files(node.path('/run/tunlink/links')).map(({ name }) => name),
    leases: ipam.filter(({ parentPath }) => !isOwners(parentPath)).map(({ name }) => name),
    owners: ipam.filter(({ parentPath }) => isOwners(parentPath)).map(({ name }) => name),
    elements: elements(node),
  }
}

/** Whether no pod has left anything. */
export const isEmpty = (node: Machine) => Object.values(traces(node)).every(list => list.length === 0)

function files(directory: string): Dirent[] {
  if (!existsSync(directory)) return []
  return readdirSync(directory, { recursive: true, withFileTypes: true }).filter(entry => entry.isFile())
}

function elements(node: Machine): string[] {
  if (!node.succeeds('nft', 'list', 'table', 'inet', 'tunlink')) return []
  const { nftables } = JSON.parse(node.run('nft', '-j', 'list', 'table', 'inet', 'tunlink'))
  const sets = nftables.filter((item: object) => 'set' in item).map((item: { set: { name: string; elem?: unknown[] } }) => item.set)
  // sets by pod, not by cluster: networks of the cluster stay
  return sets
    .filter(({ name }: { name: string }) => /^masq[46]$/.test(name))
    .flatMap(({ elem = [] }) => elem.map(value => JSON.stringify(value)))
}

/** Waits until no pod has left anything; says what is left otherwise. */
export async function nothingLeft(cluster: Cluster, seconds = 60): Promise<void> {
  await eventually('nothing is left of the pods', () => cluster.nodes.every(isEmpty), seconds).catch((error: Error) => {
    throw new Error(`${error.message}: ${JSON.stringify(cluster.nodes.map(traces))}`)
  })
}

/**
 * All that an installation may change on a node, for comparison before and after; not the chains
 * that portmap keeps in iptables' tables.
 */
export function snapshot(node: Machine): Record<string, string[]> {
  const lines = (...command: string[]) =>
    node
      .run(...command)
      .trim()
      .split('\n')
  const names = (path: string) => readdirSync(node.path(path)).sort()
  // the uninstaller's mount was there
  const isEmptyDirectory = (path: string) => statSync(path).isDirectory() && readdirSync(path).length === 0
  // the kernel's own change with forwarding, which the first dual-stack pod turns on
  const ipv6Routes = lines('ip', '-6', 'route', 'show', 'table', 'all').filter(route => !route.includes(' proto kernel '))
  return {
    links: node.ip('link').map(({ ifname }: { ifname: string }) => ifname),
    addresses: node.ip('-4', 'address').flatMap(({ addr_info }: { addr_info: { local: string }[] }) => addr_info.map(({ local }) => local)),
    routes: [...lines('ip', '-4', 'route', 'show', 'table', 'all'), ...ipv6Routes],
    rules: lines('ip', 'rule'),
    nft: lines('nft', 'list', 'tables').filter(table => !/^table ip6? nat$/.test(table)),
    executables: names('/opt/cni/bin'),
    networks: names('/etc/cni/net.d'),
    run: names('/run').filter(name => name.includes('tunlink') && !isEmptyDirectory(node.path(`/run/${name}`))),
  }
}

/** kubectl delete -f manifests/tunlink.yaml, which leaves all of the pods' network. */
export const remove = () => kubectl(['delete', '-f', MANIFEST])

/** Builds the program anew with another version, and gives its image this name on every node. */
export function buildNext(cluster: Cluster, image: string): { version: string } {
  const directory = mkdtempSync('/tmp/tunlink-next-') // where the nodes see it
  const env = { ...process.env, TUNLINK_DIST: directory, TUNLINK_VERSION: NEXT_VERSION }
  try {
    const archive = `${directory}/image.tar`
    for (const command of [['build.mjs'], ['release/image.mjs', image, archive]])
      execFileSync(process.execPath, command, { cwd: root, env, stdio: ['ignore', 'ignore', 'pipe'] })
    for (const node of cluster.nodes) node.run('ctr', '-n', 'k8s.io', 'images', 'import', archive)
    return { version: NEXT_VERSION }
  } finally {
    rmSync(directory, { recursive: true })
  }
}

/** As the head of manifests/uninstall.yaml says. */
export function uninstall(): void {
  remove()
  kubectl(['apply', '-f', UNINSTALL])
  kubectl(['-n', 'kube-system', 'rollout', 'status', '--timeout=100s', 'daemonset', 'tunlink-uninstall'])
  kubectl(['delete', '-f', UNINSTALL])
}
