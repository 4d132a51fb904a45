/** A kubeconfig for an API server that a test or a bench has made: plain HTTP, nobody asked for. */
export const kubeconfig = (port: number) => `
apiVersion: v1
kind: Config
clusters: [{ name: c, cluster: { server: "http://127.0.0.1:${port}", insecure-skip-tls-verify: true } }]
users: [{ name: u, user: {} }]
contexts: [{ name: x, context: { cluster: c, user: u } }]
current-context: x
`
