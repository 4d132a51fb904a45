/** The built-in IPAM: `ipam` of a network of tunlink, or of another plugin. */
import { DEFAULT_DATA_DIR, MOST_WITHOUT_SOCKET } from '../../src/cni/data-dir.ts'
import type { IPAM_KEYS, RANGE_KEYS, ROUTE_KEYS } from '../../src/cni/known-keys.ts'
import { MOST_EXCLUDED, MOST_RANGES } from '../../src/ipam/pool.ts'
import { U8_MAX, U32_MAX } from '../../src/ipam/routes.ts'
import { address, addressOrNetwork, boolean, integer, list, network, path, type Table, table, text } from './key.ts'

export const RANGE: Table<(typeof RANGE_KEYS)[number]> = {
  subnet: {
    type: network,
    required: true,
    meaning: 'The network whose addresses are leased, without host bits.',
    examples: ['10.77.0.0/24'],
    refused: ['10.77.0.1/24', '10.77.0.0'],
  },
  rangeStart: {
    type: address,
    default: 'the first address of the network',
    meaning: 'The first address that is leased.',
    examples: ['10.77.0.10'],
    refused: ['10.78.0.1'],
  },
  rangeEnd: {
    type: address,
    default: 'the last address of the network',
    meaning: 'The last address that is leased.',
    examples: ['10.77.0.20'],
    refused: ['10.78.0.1'],
  },
  gateway: {
    type: address,
    default: 'the first address of the network',
    meaning: 'The far end’s address, which is never leased. It may lie outside the network.',
    examples: ['10.77.0.1', '192.0.2.1'],
    refused: ['fd77::1'],
  },
}

export const IPAM: Table<(typeof IPAM_KEYS)[number]> = {
  type: {
    type: text,
    required: true,
    meaning: '`"tunlink"`. It works under another plugin too: `"type": "ptp", "ipam": {"type": "tunlink", …}`.',
  },
  subnet: {
    type: network,
    examples: RANGE.subnet.examples!,
    refused: RANGE.subnet.refused!,
    default: 'none',
    meaning: 'One range, in place of `ranges` or before them; the next three keys go with it.',
  },
  rangeStart: RANGE.rangeStart,
  rangeEnd: RANGE.rangeEnd,
  gateway: { ...RANGE.gateway, meaning: `${RANGE.gateway.meaning} Beside \`ranges\` it is that of the ranges that hold it.` },
  ranges: {
    type: list('lists of ranges', list('ranges', table('range'), { least: 1 })),
    default: 'none',
    meaning: `The pod gets one address from each inner list, so two inner lists make it dual-stack. At most ${MOST_RANGES} ranges. See [range](#range).`,
    examples: [[[{ subnet: '10.78.0.0/24' }]], [[{ subnet: '10.78.0.0/24' }, { subnet: '10.79.0.0/24' }]]],
    refused: [[[]], [{ subnet: '10.78.0.0/24' }]],
  },
  pair: {
    type: boolean,
    default: 'false',
    meaning: 'Lease pairs, /31 or /127 (RFC 3021, RFC 6164): the even address is the pod’s, the odd one is the peer.',
  },
  exclude: {
    type: list('addresses and networks', addressOrNetwork, { most: MOST_EXCLUDED }),
    default: '[]',
    meaning: 'What is never leased.',
    examples: [['10.77.0.7', '10.77.0.64/26']],
    refused: [['x']],
  },
  routes: {
    type: list('routes', table('route')),
    default: 'a default route for each family; behind a plugin that has given the pod an address, none',
    meaning: 'The pod’s routes. A `dst` named twice has two next hops. See [route](#route).',
    examples: [[{ dst: '0.0.0.0/0' }, { dst: '10.96.0.0/12', gw: '10.77.0.1', priority: 100 }]],
    refused: [[{}], [{ dst: '10.0.0.0/8', gw: 'fd00::1' }]],
  },
  dns: { type: table('dns'), default: 'none', meaning: 'The result’s `dns`. See [dns](#dns).' },
  resolvConf: {
    type: { kind: 'string', is: 'a path' },
    default: 'none',
    meaning: 'A file in the format of resolv.conf(5) of which the result’s `dns` is made, in place of the key `dns`.',
    examples: ['/etc/passwd'],
    refused: ['/nowhere/resolv.conf'],
  },
  dataDir: {
    type: path(MOST_WITHOUT_SOCKET),
    default: `\`${DEFAULT_DATA_DIR}\``,
    meaning:
      'Where the leases are kept when another plugin uses this IPAM. In a network of tunlink they lie in the network’s own `dataDir`.',
    examples: ['/run/elsewhere'],
  },
}

const routeNumber = (meaning: string, most = U32_MAX) => ({ type: integer(0, most), default: 'the kernel’s', meaning })

export const ROUTE: Table<(typeof ROUTE_KEYS)[number]> = {
  dst: {
    type: network,
    required: true,
    meaning: 'Where the route leads.',
    examples: ['192.0.2.0/24', '::/0'],
    refused: ['192.0.2.1', '192.0.2.0/99'],
  },
  gw: {
    type: address,
    default: 'the far end',
    meaning: 'The next hop, of the family of `dst`.',
    examples: ['10.77.0.1'],
    refused: ['fd77::1'],
  },
  mtu: routeNumber('The MTU of the path, in bytes.'),
  advmss: routeNumber('The MSS that TCP announces, in bytes.'),
  priority: routeNumber('The route’s metric.'),
  table: routeNumber('The routing table.'),
  scope: routeNumber('The scope, as in rtnetlink(7).', U8_MAX),
}
