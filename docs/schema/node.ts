/** `config.json` of the ConfigMap that tunlinkd reads on Kubernetes. */
import { DEFAULT_DATA_DIR } from '../../src/cni/data-dir.ts'
import { MOST_MTU } from '../../src/cni/link-keys.ts'
import { LEAST_NODE_MTU, type NODE_KEYS, WIRES } from '../../src/node/config.ts'
import { boolean, choice, list, type Table, text, zeroOr } from './key.ts'
import { NETWORK } from './network.ts'

export const NODE: Table<(typeof NODE_KEYS)[number]> = {
  mtu: {
    type: zeroOr(LEAST_NODE_MTU, MOST_MTU, 'bytes'),
    default: 'what the backend can carry',
    meaning:
      'The MTU of the pods’ links, at most what the backend can carry: that is what the device with the node’s InternalIP does, or the least of the default routes’ devices where that address is on `lo`; VXLAN takes 50 bytes of it (70 over IPv6).',
  },
  peer: {
    type: NETWORK.peer.type,
    default: 'the first address of the pod CIDR',
    meaning: 'The far end’s address in pods: see [peer](#the-link).',
    examples: NETWORK.peer.examples!,
  },
  annotations: {
    type: NETWORK.annotations.type,
    default: NETWORK.annotations.default!,
    meaning: 'Which annotations of pods count: see [annotations](annotations.md).',
    examples: NETWORK.annotations.examples!,
  },
  wire: {
    type: choice(...WIRES),
    default: '"auto"',
    meaning: 'What carries the packets of new links: see [wire](#the-link). Links that are there stay as they are.',
  },
  ipMasq: { type: boolean, default: 'true', meaning: 'Masquerade what leaves the cluster.' },
  dataDir: {
    type: text,
    default: `\`${DEFAULT_DATA_DIR}\``,
    meaning:
      'See [dataDir](#the-network). A change is taken up by a restart only: drain the node first, and change the DaemonSet’s mount `data` too.',
    examples: ['/run/elsewhere'],
  },
  plugins: {
    type: list('configurations of plugins', { kind: 'object', is: 'a plugin, with its `type`' }),
    default: '[]',
    meaning:
      'Plugins chained behind tunlink and `portmap`, in this order. A `portmap` of your own replaces ours. One of type `tunlink` is an extra interface of each pod: it needs an `ifName` and an `ipam` with addresses that no pod CIDR has, and gets the `dataDir` of the network.',
    examples: [[{ type: 'tuning', sysctl: { 'net.core.somaxconn': '500' } }]],
    refused: [[{}], [{ type: 'a/b' }]],
  },
}
