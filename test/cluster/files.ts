/** The configuration files of a cluster's components, as text. Values are Kubernetes 1.20's. */

export const TOKENS = { admin: 'admin-token', proxy: 'proxy-token', node: (name: string) => `${name}-token` }

/** The API server's static tokens, one `token,user,uid,"groups"` a line. */
export const tokenFile = (nodes: string[]) =>
  [
    `${TOKENS.admin},admin,admin,"system:masters"`,
    `${TOKENS.proxy},system:kube-proxy,proxy`,
    ...nodes.map(name => `${TOKENS.node(name)},system:node:${name},${name},"system:nodes"`),
  ].join('\n')

/** JSON is YAML. */
export const kubeconfig = (server: string, certificateAuthority: string, token: string) =>
  JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'test',
    clusters: [{ name: 'test', cluster: { server, 'certificate-authority': certificateAuthority } }],
    users: [{ name: 'test', user: { token } }],
    contexts: [{ name: 'test', context: { cluster: 'test', user: 'test' } }],
  })

/**
 * Debian 13's containerd looks for plugins in /usr/lib/cni unless told. Without CAP_SYS_RESOURCE no
 * process may get the -998 that a pod's first one is due, and every pod would fail.
 */
export const containerdToml = () => `version = 2
root = "/var/lib/containerd"
state = "/run/containerd-state"
disabled_plugins = ["io.containerd.snapshotter.v1.devmapper", "io.containerd.internal.v1.opt", "io.containerd.internal.v1.tracing"]
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
`

export interface KubeletOptions {
  /** The node's IPv4 address. */
  address: string
  /** Must exist. */
  cgroupRoot: string
  dualStack: boolean
  /** kube-proxy runs beside it, and relies on chains that the kubelet makes. */
  proxy: boolean
}

/** The machine's own limits and swap are left alone. */
export const kubeletConfig = ({ address, cgroupRoot, dualStack, proxy }: KubeletOptions) =>
  JSON.stringify({
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    address,
    readOnlyPort: 0,
    authentication: { anonymous: { enabled: true }, webhook: { enabled: false } },
    authorization: { mode: 'AlwaysAllow' },
    cgroupDriver: 'cgroupfs',
    cgroupRoot,
    enforceNodeAllocatable: [],
    failSwapOn: false,
    makeIPTablesUtilChains: proxy,
    featureGates: { IPv6DualStack: dualStack },
    oomScoreAdj: 0,
    evictionHard: { 'memory.available': '1Mi', 'nodefs.available': '1%', 'imagefs.available': '1%' },
    imageGCHighThresholdPercent: 100,
    resolvConf: '',
    kubeAPIQPS: 100, // 5 by default: a burst of pods would wait for that alone
    kubeAPIBurst: 200,
    nodeStatusUpdateFrequency: '2s',
    syncFrequency: '5s',
    fileCheckFrequency: '2s',
    staticPodPath: '/etc/kubernetes/manifests',
    volumePluginDir: '/var/lib/kubelet/volume-plugins',
  })

/** kube-proxy as kubeadm sets it up, but for the size of conntrack, which is the machine's. */
export const proxyConfig = (node: string, kubeconfig: string, clusterCIDR: string, dualStack: boolean) =>
  JSON.stringify({
    apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
    kind: 'KubeProxyConfiguration',
    mode: 'iptables',
    clientConnection: { kubeconfig },
    hostnameOverride: node,
    clusterCIDR,
    conntrack: { maxPerCore: 0 },
    featureGates: { IPv6DualStack: dualStack },
  })

/**
 * In the place of kube-proxy: the node leads the address of the Service `kubernetes` to the API
 * server.
 */
export const serviceRules = (service: string, api: string, port: number) => `*nat
:TEST-API - [0:0]
-A PREROUTING -d ${service}/32 -p tcp --dport 443 -j TEST-API
-A OUTPUT -d ${service}/32 -p tcp --dport 443 -j TEST-API
-A TEST-API -p tcp -j DNAT --to-destination ${api}:${port}
-A POSTROUTING -d ${api}/32 -p tcp --dport ${port} -m conntrack --ctstate DNAT -j MASQUERADE
COMMIT
`
