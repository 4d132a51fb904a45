/** The network configuration: one plugin of a conflist, or a configuration of its own. */
import { SETTINGS } from '../../src/cni/annotations.ts'
import { LEAST_RATE, MOST_BURST, MOST_RATE } from '../../src/cni/bandwidth.ts'
import { DEFAULT_DATA_DIR, MOST_DATA_DIR } from '../../src/cni/data-dir.ts'
import type { AGENT_KEYS, DNS_KEYS, LINK_KEYS, NETWORK_KEYS, RATE_KEYS } from '../../src/cni/known-keys.ts'
import { AGENT_DEFAULTS, DAY_SECONDS, LEAST_MTU, LINK_DEFAULTS, MOST_ID, MOST_MTU, MOST_TXQLEN } from '../../src/cni/link-keys.ts'
import { NAME_MAX } from '../../src/cni/netconf.ts'
import { SUPPORTED } from '../../src/cni/version.ts'
import { addressOrNetwork, boolean, choice, integer, type Key, list, path, type Table, table, text, zeroOr } from './key.ts'

const rate = (direction: string, farEnd?: 'host'): Key => ({
  type: zeroOr(LEAST_RATE, MOST_RATE, 'bits per second'),
  default: 'unlimited',
  meaning: `What the pod ${direction} at most (qdisc \`tbf\`); 0 is unlimited. With a burst.`,
  ...(farEnd === undefined ? {} : { farEnd }),
})

const burst = (rateKey: string, farEnd?: 'host'): Key => ({
  type: zeroOr(LEAST_RATE, MOST_BURST, 'bits'),
  default: 'unlimited',
  meaning: `What may pass at once beyond \`${rateKey}\`. With a rate.`,
  ...(farEnd === undefined ? {} : { farEnd }),
})

const RATES: Table<(typeof RATE_KEYS)[number]> = {
  ingressRate: { ...rate('receives', 'host'), with: { ingressBurst: 1_000_000 } },
  ingressBurst: { ...burst('ingressRate', 'host'), with: { ingressRate: 1_000_000 } },
  egressRate: { ...rate('sends'), with: { egressBurst: 1_000_000 } },
  egressBurst: { ...burst('egressRate'), with: { egressRate: 1_000_000 } },
}

const LINK: Table<(typeof LINK_KEYS)[number]> = {
  farEnd: {
    type: choice('host', 'attach'),
    default: `"${LINK_DEFAULTS.farEnd}"`,
    meaning:
      'Who is at the other end of the link. `"host"`: the node. `"attach"`: the process that attaches to the TUN device, such as a VPN client.',
  },
  wire: {
    type: choice('auto', 'kernel', 'thread'),
    default: `"${LINK_DEFAULTS.wire}"`,
    farEnd: 'host',
    with: { agent: {} },
    meaning:
      'What carries the packets. `"kernel"`: BPF programs and a veth pair; an ADD on a node that cannot have them fails with code 50. `"thread"`: a thread of the agent. `"auto"`: the kernel where it can, else a thread.',
  },
  mtu: {
    type: zeroOr(LEAST_MTU, MOST_MTU, 'bytes'),
    default: 'with the far end `host` the MTU of the device of the node’s default route, else 1500',
    meaning:
      'The MTU of the link; with IPv6 at least 1280. Above 16000 the link has a thread wire. The pod’s annotation `tunlink.dev/mtu` may set it, up to this value where there is one. 0 is the default.',
  },
  addressing: {
    type: choice('peer', 'subnet'),
    default: `"${LINK_DEFAULTS.addressing}"`,
    meaning:
      '`"peer"`: the pod’s address stands alone (/32, /128), and the far end’s address is its peer. `"subnet"`: the pod’s address keeps the prefix that the IPAM plugin gave, and has no peer.',
  },
  peer: {
    type: { kind: 'either', types: [addressOrNetwork, list('addresses, at most one for each family', addressOrNetwork)] },
    default: 'the IPAM’s gateway, else 169.254.1.1 and fe80::1',
    meaning:
      'The far end’s address, or a list with one for each family. With a prefix, such as `198.51.100.1/24`, the pod reaches that whole network by the link. An unspecified, loopback, multicast or broadcast address is refused.',
    examples: ['10.9.9.9', '198.51.100.1/24', ['10.9.9.9', 'fd09::9']],
    refused: [
      'here',
      ['10.9.9.9', 'x'],
      '10.9.9.9/99',
      '0.0.0.0',
      '0.0.0.0/0',
      '255.255.255.255',
      '224.0.0.1',
      '127.0.0.1',
      '::',
      'ff02::1',
      '::1',
    ],
  },
  annotations: {
    type: list('names', choice(...SETTINGS)),
    default: '`["mtu"]`',
    meaning: 'Which annotations of the pod count. One that is set and not among these is refused: see [annotations](annotations.md).',
    examples: [['mtu', 'owner'], []],
    refused: [['network']],
  },
  ipMasq: {
    type: boolean,
    default: String(LINK_DEFAULTS.ipMasq),
    meaning:
      'Masquerade what leaves the node (nftables, table `inet tunlink`). The kernel then tracks all connections of the node, which costs some speed.',
  },
  owner: {
    type: integer(0, MOST_ID),
    farEnd: 'attach',
    default: 'nobody in particular',
    meaning:
      'The numeric user ID that may attach to the device. One of `owner`, `group` and `allowAnyUser` must be there; where `owner` and `group` both are, both must match.',
  },
  group: {
    type: integer(0, MOST_ID),
    farEnd: 'attach',
    default: 'no group in particular',
    meaning: 'The numeric group ID that may attach to the device.',
  },
  multiQueue: {
    type: boolean,
    default: String(LINK_DEFAULTS.multiQueue),
    farEnd: 'attach',
    meaning: 'Several descriptors may attach at once, with `IFF_MULTI_QUEUE`. A program must then attach with that flag.',
  },
  allowAnyUser: {
    type: boolean,
    default: 'false',
    farEnd: 'attach',
    meaning: 'Allow a device without `owner` and `group`: the kernel then lets every user attach.',
  },
  txQLen: {
    type: integer(1, MOST_TXQLEN, 'packets'),
    default: 'the kernel’s, 500',
    meaning: 'The length of the TUN’s transmit queue.',
  },
  zeroMac: {
    type: boolean,
    default: String(LINK_DEFAULTS.zeroMac),
    meaning: 'Print `"mac": "00:00:00:00:00:00"` in the result: podman’s CNI backend refuses a result without a `mac`.',
  },
  ...RATES,
}

export const NETWORK: Table<(typeof NETWORK_KEYS)[number] | (typeof LINK_KEYS)[number]> = {
  cniVersion: {
    type: choice(...SUPPORTED),
    default: '`0.1.0`',
    meaning: 'The version of the CNI specification. In a conflist it stands at the top. CHECK needs 0.4.0, GC and STATUS need 1.1.0.',
  },
  name: {
    type: { kind: 'string', is: 'a name', pattern: '^[a-zA-Z0-9][a-zA-Z0-9_.-]*$', most: NAME_MAX },
    required: true,
    meaning: 'The name of the network. In a conflist it stands at the top. Leases and records lie in directories of this name.',
    examples: ['pods', 'a.b-c_1'],
    refused: ['', '-x', 'a/b'],
  },
  type: {
    type: text,
    required: true,
    unread: true,
    meaning: '`"tunlink"`: the executable’s name in the runtime’s directory of plugins.',
  },
  ...LINK,
  ifName: {
    type: { kind: 'string', is: 'a name of an interface', pattern: '^[^/:%\\s]*$', most: 15 },
    default: '`CNI_IFNAME`',
    meaning: 'Another name for the pod’s interface than the runtime gives: it adds an interface behind another plugin in a chain.',
    examples: ['tun0'],
    refused: ['a/b', 'a b', 'tun%d'],
  },
  dataDir: {
    type: path(MOST_DATA_DIR),
    default: `\`${DEFAULT_DATA_DIR}\``,
    meaning:
      'The directory of records, leases, and the agent’s socket and log. It should be on a tmpfs: a reboot then clears it together with the links. Nobody but root may own it or write to it.',
    examples: ['/run/elsewhere'],
    refused: ['run/tunlink'],
  },
  agent: { type: table('agent'), default: '{}', meaning: 'The agent that a verb starts. See [agent](#agent).' },
  ipam: {
    type: { kind: 'either', types: [table('ipam'), { kind: 'object', is: 'the object of another IPAM plugin' }] },
    default: 'none',
    meaning:
      'Who gives the addresses: the built-in IPAM (see [ipam](#ipam)), or any other IPAM plugin by its `type`. Without it addresses come from `runtimeConfig.ips`, `args.cni.ips` or `IP` in `CNI_ARGS`.',
    refused: [{ type: '' }, { type: 1 }],
  },
  dns: {
    type: table('dns'),
    default: 'the IPAM’s',
    meaning: 'The result’s `dns`, in place of all that the IPAM plugin says. See [dns](#dns).',
  },
  args: {
    type: { kind: 'object', is: 'an object' },
    default: '{}',
    meaning: 'As in the CNI conventions: `args.cni.ips` is a list of addresses to be leased.',
  },
  runtimeConfig: {
    type: { kind: 'object', is: 'an object' },
    default: '{}',
    meaning: 'Put there by the runtime, for the capabilities that the conflist names. See [what the runtime adds](#what-the-runtime-adds).',
  },
  prevResult: {
    type: { kind: 'object', is: 'a result' },
    default: 'none',
    meaning: 'Put there by the runtime: the result of the plugins before this one in the chain. It is passed on, with ours behind it.',
  },
}

export const AGENT: Table<(typeof AGENT_KEYS)[number]> = {
  spawn: { type: boolean, default: String(AGENT_DEFAULTS.spawn), meaning: 'Start an agent when none answers.' },
  idleSeconds: {
    type: integer(0, DAY_SECONDS, 'seconds'),
    default: String(AGENT_DEFAULTS.idleSeconds),
    meaning: 'An agent that a verb has started ends this long after the last link; 0 is never.',
  },
}

export const DNS: Table<(typeof DNS_KEYS)[number]> = {
  nameservers: {
    type: list('addresses', text),
    default: 'none',
    meaning: 'Name servers, in order of preference.',
    examples: [['10.96.0.10']],
  },
  domain: { type: text, default: 'none', meaning: 'The local domain.', examples: ['cluster.local'] },
  search: { type: list('domains', text), default: 'none', meaning: 'Where short names are looked for.', examples: [['svc.cluster.local']] },
  options: { type: list('options', text), default: 'none', meaning: 'As in resolv.conf(5).', examples: [['ndots:5']] },
}
