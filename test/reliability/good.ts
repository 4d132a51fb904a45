/** Good input of every kind, for garbage.ts to damage. */
import { hostIfname, type LinkPlan } from '../../src/link/plan.ts'

export const PREV_RESULT = {
  cniVersion: '1.0.0',
  interfaces: [{ name: 'eth0', mac: '02:00:00:00:00:01', sandbox: '/n', mtu: 1500 }],
  ips: [{ address: '10.1.0.5/24', gateway: '10.1.0.1', interface: 0 }],
  routes: [{ dst: '0.0.0.0/0', gw: '10.1.0.1', mtu: 1400, table: 5 }],
  dns: { nameservers: ['10.96.0.10'], search: ['svc.cluster.local'] },
}

export const CONFIGURATIONS: Record<string, unknown>[] = [
  {
    cniVersion: '1.1.0',
    name: 'net',
    type: 'tunlink',
    mtu: 1400,
    wire: 'auto',
    ipMasq: true,
    peer: ['169.254.7.1/32', 'fe80::7'],
    txQLen: 100,
    agent: { spawn: true, idleSeconds: 60 },
    ipam: {
      type: 'tunlink',
      ranges: [
        [{ subnet: '10.66.0.0/24', rangeStart: '10.66.0.9', rangeEnd: '10.66.0.99', gateway: '10.66.0.1' }],
        [{ subnet: 'fd66::/64' }],
      ],
      exclude: ['10.66.0.10', '10.66.0.32/30'],
      routes: [{ dst: '0.0.0.0/0' }, { dst: '192.0.2.0/24', gw: '10.66.0.1', priority: 9 }],
      dns: { nameservers: ['10.96.0.10'] },
    },
    runtimeConfig: {
      ips: ['10.66.0.50'],
      dns: { servers: ['1.1.1.1'], searches: ['x'] },
      'io.kubernetes.cri.pod-annotations': { 'tunlink.dev/mtu': '1300', 'tunlink.dev/addresses': '10.66.0.52, fd66::52' },
    },
    annotations: ['mtu', 'addresses'],
    args: { cni: { ips: ['10.66.0.51'] } },
    prevResult: PREV_RESULT,
    'cni.dev/valid-attachments': [{ containerID: 'a', ifname: 'eth0' }],
  },
  {
    cniVersion: '1.0.0',
    name: 'net',
    type: 'tunlink',
    farEnd: 'attach',
    owner: 1000,
    group: 1000,
    multiQueue: true,
    addressing: 'subnet',
    annotations: ['owner', 'group', 'peer', 'far-end'],
    runtimeConfig: {
      'io.kubernetes.cri.pod-annotations': {
        'tunlink.dev/far-end': 'attach',
        'tunlink.dev/owner': '2000',
        'tunlink.dev/group': '2000',
        'tunlink.dev/peer': '10.9.9.9,fd99::9/64',
      },
    },
    ipam: { type: 'host-local' },
  },
  {
    cniVersion: '0.3.1',
    name: 'net',
    type: 'tunlink',
    ipam: { type: 'tunlink', subnet: '10.66.0.0/30', pair: true },
    dns: { nameservers: [] },
  },
  { cniVersion: '0.2.0', name: 'net', type: 'ptp', ipam: { type: 'tunlink', subnet: '10.66.0.0/24', dataDir: '/tmp/x' } },
]

export const IPAM_RESULTS: Record<string, unknown>[] = [
  {
    cniVersion: '1.1.0',
    ips: [{ address: '10.66.0.7/24', gateway: '10.66.0.1' }],
    routes: [{ dst: '0.0.0.0/0', gw: '10.66.0.1', advmss: 1200 }],
    dns: {},
  },
  { cniVersion: '1.0.0', ips: [{ address: '10.66.0.7/24' }, { address: 'fd66::7/64', gateway: 'fd66::1' }], routes: [{ dst: '::/0' }] },
  { cniVersion: '0.2.0', ip4: { ip: '10.66.0.7/24', gateway: '10.66.0.1', routes: [{ dst: '0.0.0.0/0' }] } },
]

const ATTACHMENT = { network: 'net', containerID: 'c1', ifname: 'eth0' }

export const RECORDS: LinkPlan[] = [
  {
    version: 2,
    ...ATTACHMENT,
    farEnd: 'host',
    wire: 'kernel',
    netns: '/run/netns/x',
    netnsId: { dev: 4, ino: 4026531840 },
    mtu: 1500,
    multiQueue: false,
    pod: {
      ifname: 'eth0',
      addresses: [
        { local: '10.66.0.7', peer: '10.66.0.1', prefix: 32 },
        { local: 'fd66::7', prefix: 64 },
      ],
      routes: [
        { dst: '0.0.0.0/0', gw: '10.66.0.1' },
        { dst: '::/0', gw: 'fe80::1', onlink: true, mtu: 1400 },
      ],
    },
    host: {
      ifname: hostIfname(ATTACHMENT),
      addresses: [{ local: '10.66.0.1', peer: '10.66.0.7', prefix: 32 }],
      routes: [{ dst: 'fd66::7/128' }],
    },
    masquerade: ['10.66.0.7'],
  },
  {
    version: 2,
    ...ATTACHMENT,
    farEnd: 'attach',
    netns: '/run/netns/x',
    mtu: 1500,
    owner: 1000,
    txQLen: 5,
    multiQueue: true,
    pod: { ifname: 'eth0', addresses: [], routes: [] },
    masquerade: [],
  },
]

/** First lines of owner files of leases. */
export const OWNERS: Record<string, unknown>[] = [
  { containerID: 'c1', ifname: 'eth0', cniIfname: 'eth0' },
  { containerID: 'c1', ifname: 'eth0' },
  { containerID: 'c2', ifname: 'net1', cniIfname: 'eth0' },
]

export const NODES: Record<string, unknown>[] = [
  {
    metadata: { name: 'n1', resourceVersion: '7' },
    spec: { podCIDR: '10.66.1.0/24', podCIDRs: ['10.66.1.0/24', 'fd66:0:0:1::/64'] },
    status: {
      addresses: [
        { type: 'InternalIP', address: '192.0.2.1' },
        { type: 'Hostname', address: 'n1' },
      ],
      conditions: [
        { type: 'NetworkUnavailable', status: 'True' },
        { type: 'Ready', status: 'True' },
      ],
    },
  },
]
