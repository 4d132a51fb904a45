/** tunlinkd's command line and environment. */
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import type { Backend } from './routes.ts'

export interface Options {
  command: 'run' | 'uninstall' | 'help' | 'version'
  nodeName: string
  kubeconfig?: string
  backend: Backend
  masquerade: boolean
  conflist: boolean
  openForward: boolean
  /** 0: no device plugin. */
  netTunDevices: number
  netTunPath: string
  devicePluginDir: string
  config: string
  executable: string
  cniBinDir: string
  cniConfDir: string
  dataDir?: string
  vxlanId: number
  vxlanPort: number
  vxlanTxChecksum: boolean
  healthBindAddress: string
  metricsBindAddress: string
  wait: boolean
}

interface Flag {
  default?: string
  help: string
  placeholder?: string
}

/** Each flag may be given as an environment variable too: --vxlan-id as TUNLINK_VXLAN_ID. */
const FLAGS: Record<string, Flag> = {
  'node-name': { placeholder: 'NAME', help: 'this Node in the Kubernetes API (also NODE_NAME)' },
  kubeconfig: { placeholder: 'FILE', help: "how to reach the API (also KUBECONFIG); default: the pod's service account" },
  backend: { placeholder: 'host-gw|vxlan|none', default: 'host-gw', help: 'how packets go to the pods of other nodes' },
  masquerade: {
    placeholder: 'true|false',
    default: 'true',
    help: 'translate what pods send outside the cluster; false wins over "ipMasq"',
  },
  conflist: { placeholder: 'true|false', default: 'true', help: 'install the conflist; false: only the executable, for Multus' },
  'open-forward': {
    placeholder: 'true|false',
    default: 'false',
    help: "let pods' packets through firewalls whose forward policy is drop",
  },
  'net-tun-devices': {
    placeholder: 'N',
    default: '0',
    help: 'pods may ask for /dev/net/tun as the resource tunlink.dev/net-tun, so many at a time; 0: no device plugin',
  },
  'net-tun-path': {
    placeholder: 'FILE',
    default: '/dev/net/tun',
    help: "the node's /dev/net/tun as tunlinkd sees it: pods get it while it is there",
  },
  'device-plugin-dir': { placeholder: 'DIR', default: '/var/lib/kubelet/device-plugins', help: "where the kubelet's socket is" },
  config: { placeholder: 'FILE', default: '/etc/tunlink/config.json', help: 'mtu, peer, wire, ipMasq, dataDir, plugins; watched' },
  executable: { placeholder: 'FILE', help: 'the plugin to install and to run as agent; default: tunlink beside this program' },
  'cni-bin-dir': { placeholder: 'DIR', default: '/opt/cni/bin', help: 'where the runtime looks for plugins' },
  'cni-conf-dir': { placeholder: 'DIR', default: '/etc/cni/net.d', help: 'where the runtime looks for configurations' },
  'data-dir': { placeholder: 'DIR', help: 'records, leases and agent socket; default: that of the configuration' },
  'vxlan-id': { placeholder: 'N', default: '4096', help: 'VXLAN network identifier' },
  'vxlan-port': { placeholder: 'N', default: '4789', help: 'VXLAN UDP port' },
  'vxlan-tx-checksum': { placeholder: 'true|false', default: 'true', help: 'false: compute inner checksums in software' },
  'health-bind-address': { placeholder: 'HOST:PORT', default: '127.0.0.1:9641', help: '/healthz and /readyz' },
  'metrics-bind-address': { placeholder: 'HOST:PORT', default: '127.0.0.1:9642', help: '/metrics; empty: none' },
  wait: { placeholder: 'true|false', default: 'false', help: 'uninstall: stay until SIGTERM when done, as a DaemonSet needs it' },
}

/** The kubelet takes lists of up to 4 MiB, and writes each to its checkpoint. */
const MOST_DEVICES = 10_000

const variable = (flag: string) => `TUNLINK_${flag.toUpperCase().replaceAll('-', '_')}`

export const help = (version: string) => `tunlinkd ${version}: installs tunlink on a Kubernetes node and routes between nodes

  tunlinkd [FLAG...]             run on this node until SIGTERM; everything it has set up stays
  tunlinkd uninstall [FLAG...]   remove from this node what tunlinkd has set up
  tunlinkd --version | --help

Flags, each also by environment (--vxlan-id is TUNLINK_VXLAN_ID):
${Object.entries(FLAGS)
  .map(([name, flag]) => `  ${`--${name} ${flag.placeholder}`.padEnd(34)} ${flag.help}${flag.default ? ` (${flag.default})` : ''}`)
  .join('\n')}

TUNLINK_PROC_SYS: where sysctls are written, when /proc/sys is read-only as it is in containers.
`

/** Throws an Error that names the flag, its value, and what it must be. */
export function parseOptions(argv: string[], env: Record<string, string | undefined>, program = process.argv[1] ?? ''): Options {
  const { values, positionals } = parseArgs({
    args: argv,
    allowPositionals: true,
    options: {
      ...Object.fromEntries(Object.keys(FLAGS).map(name => [name, { type: 'string' as const }])),
      help: { type: 'boolean', short: 'h' },
      version: { type: 'boolean', short: 'v' },
    },
  })
  const text = (name: string) => (values as Record<string, string | undefined>)[name] ?? env[variable(name)] ?? FLAGS[name]!.default ?? ''
  const optional = (name: string, other?: string) => text(name) || (other === undefined ? undefined : env[other]) || undefined
  const [command, ...rest] = positionals
  if (rest.length > 0 || (command !== undefined && command !== 'uninstall')) throw new Error(`Unknown command "${positionals.join(' ')}"`)
  const options: Options = {
    command: values.help ? 'help' : values.version ? 'version' : command === 'uninstall' ? 'uninstall' : 'run',
    nodeName: optional('node-name', 'NODE_NAME') ?? '',
    backend: choice('backend', text('backend'), ['host-gw', 'vxlan', 'none']),
    masquerade: flag('masquerade', text('masquerade')),
    conflist: flag('conflist', text('conflist')),
    openForward: flag('open-forward', text('open-forward')),
    netTunDevices: integer('net-tun-devices', text('net-tun-devices'), 0, MOST_DEVICES),
    netTunPath: text('net-tun-path'),
    devicePluginDir: text('device-plugin-dir'),
    config: text('config'),
    executable: optional('executable') ?? join(dirname(program), 'tunlink'),
    cniBinDir: text('cni-bin-dir'),
    cniConfDir: text('cni-conf-dir'),
    vxlanId: integer('vxlan-id', text('vxlan-id'), 1, 2 ** 24 - 1),
    vxlanPort: integer('vxlan-port', text('vxlan-port'), 1, 65535),
    vxlanTxChecksum: flag('vxlan-tx-checksum', text('vxlan-tx-checksum')),
    healthBindAddress: text('health-bind-address'),
    metricsBindAddress: text('metrics-bind-address'),
    wait: flag('wait', text('wait')),
  }
  const kubeconfig = optional('kubeconfig', 'KUBECONFIG')
  const dataDir = optional('data-dir')
  if (kubeconfig !== undefined) options.kubeconfig = kubeconfig
  if (dataDir !== undefined) options.dataDir = dataDir
  if (options.command === 'run' && options.nodeName === '') throw new Error('--node-name or NODE_NAME must name this Node of the API')
  return options
}

function choice<T extends string>(name: string, value: string, choices: readonly T[]): T {
  if (!choices.includes(value as T)) throw new Error(`--${name} must be ${choices.join(' or ')}, not "${value}"`)
  return value as T
}

const flag = (name: string, value: string) => choice(name, value, ['true', 'false']) === 'true'

function integer(name: string, value: string, least: number, most: number): number {
  const number = Number(value)
  if (!/^\d+$/.test(value) || number < least || number > most)
    throw new Error(`--${name} must be an integer from ${least} to ${most}, not "${value}"`)
  return number
}
