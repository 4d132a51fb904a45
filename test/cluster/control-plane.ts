/**
 * etcd and the Kubernetes daemons, in the network namespace that is also the router between the
 * nodes. Nothing of it is on the host.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { eventually } from '../support.ts'
import { kubeconfig, TOKENS, tokenFile } from './files.ts'
import { DIRECTORY, FABRIC } from './namespaces.ts'

export const KUBE = process.env.TUNLINK_KUBE_DIR ?? '/var/cache/tunlink-test/kube'
export const API = '10.199.0.254'
export const PORT = 6443
export const SERVER = `https://${API}:${PORT}`
const SERVICES = ['10.96.0.0/24', 'fd00:10:96::/112']
/** The Service `kubernetes`. */
export const SERVICE = '10.96.0.1'
export const CERTIFICATE_AUTHORITY = join(DIRECTORY, 'pki', 'ca.crt')
const ADMIN = join(DIRECTORY, 'admin.kubeconfig')
const ETCD = 'http://127.0.0.1:2379'

const pki = (name: string) => join(DIRECTORY, 'pki', name)
const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: ['ignore', 'pipe', 'pipe'] })

function certificates(): void {
  mkdirSync(pki(''), { recursive: true })
  const key = ['-newkey', 'rsa:2048', '-nodes']
  openssl('req', '-x509', ...key, '-days', '30', '-keyout', pki('ca.key'), '-out', pki('ca.crt'), '-subj', '/CN=test-ca')
  openssl('req', ...key, '-keyout', pki('api.key'), '-out', pki('api.csr'), '-subj', '/CN=kube-apiserver')
  writeFileSync(pki('names'), `subjectAltName=IP:127.0.0.1,IP:${SERVICE},IP:${API},DNS:localhost,DNS:kubernetes.default.svc`)
  const signed = ['-CA', pki('ca.crt'), '-CAkey', pki('ca.key'), '-CAcreateserial', '-days', '30', '-extfile', pki('names')]
  openssl('x509', '-req', '-in', pki('api.csr'), '-out', pki('api.crt'), ...signed)
  openssl('genrsa', '-out', pki('sa.key'), '2048')
  openssl('rsa', '-in', pki('sa.key'), '-pubout', '-out', pki('sa.pub'))
}

/** A daemon in the fabric's namespace; teardown finds it there. */
function daemon(name: string, ...args: string[]): number {
  const log = openSync(join(DIRECTORY, `${name}.log`), 'a')
  const env = { PATH: process.env.PATH } // no proxy settings
  const executable = name === 'etcd' ? name : join(KUBE, name)
  const command = [`--net=/run/netns/${FABRIC}`, executable, ...args]
  const child = spawn('nsenter', command, { stdio: ['ignore', log, log], env, detached: true })
  child.unref()
  closeSync(log)
  return child.pid!
}

/** The families' gate is on by default only from 1.21 on. */
const gates = (dualStack: boolean) => (dualStack ? ['--feature-gates=IPv6DualStack=true'] : [])

const apiServerArgs = () => [
  ...gates(isDualStack),
  `--etcd-servers=${ETCD}`,
  `--bind-address=${API}`,
  `--advertise-address=${API}`,
  `--secure-port=${PORT}`,
  '--kubelet-preferred-address-types=InternalIP',
  `--tls-cert-file=${pki('api.crt')}`,
  `--tls-private-key-file=${pki('api.key')}`,
  `--client-ca-file=${pki('ca.crt')}`,
  '--service-account-issuer=https://kubernetes.default.svc',
  `--service-account-signing-key-file=${pki('sa.key')}`,
  `--service-account-key-file=${pki('sa.pub')}`,
  `--service-cluster-ip-range=${SERVICES.slice(0, isDualStack ? 2 : 1).join()}`,
  `--token-auth-file=${join(DIRECTORY, 'tokens.csv')}`,
  '--authorization-mode=Node,RBAC',
  '--enable-admission-plugins=NodeRestriction',
  '--allow-privileged=true',
  `--cert-dir=${join(DIRECTORY, 'pki')}`,
]

let apiServer = 0
let isDualStack = false

/** Starts the API server, again after apiServerKill(), and waits for it. */
export async function apiServerStart(): Promise<void> {
  apiServer = daemon('kube-apiserver', ...apiServerArgs())
  await eventually('the API server is ready', () => kubectlTry('get', '--raw', '/readyz').status === 0, 60)
}

export function apiServerKill(): void {
  process.kill(apiServer, 'SIGKILL')
}

export async function controlPlaneStart(nodes: string[], dualStack: boolean): Promise<void> {
  isDualStack = dualStack
  certificates()
  writeFileSync(join(DIRECTORY, 'tokens.csv'), tokenFile(nodes))
  writeFileSync(ADMIN, kubeconfig(SERVER, CERTIFICATE_AUTHORITY, TOKENS.admin))
  daemon('etcd', '--data-dir', join(DIRECTORY, 'etcd'), '--listen-client-urls', ETCD, '--advertise-client-urls', ETCD, '--unsafe-no-fsync')
  await apiServerStart()
  const manager = ['--service-account-private-key-file', pki('sa.key'), '--root-ca-file', pki('ca.crt'), '--port=0', '--leader-elect=false']
  // nodeipam would begin 10 s late: registered() does its work
  manager.push(
    ...gates(dualStack),
    '--controllers=*,-nodeipam,-route,-cloud-node-lifecycle,-service',
    `--cert-dir=${DIRECTORY}/manager`,
    '--bind-address=127.0.0.1',
  )
  daemon('kube-controller-manager', `--kubeconfig=${ADMIN}`, ...manager)
  const scheduler = ['--port=0', '--leader-elect=false', `--cert-dir=${DIRECTORY}/scheduler`, '--bind-address=127.0.0.1']
  daemon('kube-scheduler', `--kubeconfig=${ADMIN}`, ...scheduler)
}

export function kubectlCommand(...args: string[]): [string, string[]] {
  return ['nsenter', [`--net=/run/netns/${FABRIC}`, join(KUBE, 'kubectl'), `--kubeconfig=${ADMIN}`, ...args]]
}

export function kubectlTry(...args: string[]) {
  return spawnSync(...kubectlCommand(...args), { encoding: 'utf8', env: { PATH: process.env.PATH, HOME: DIRECTORY }, timeout: 120_000 })
}

/** As cluster administrator; `input` goes to standard input, for `-f -`. */
export function kubectl(args: string[], input = ''): string {
  const env = { PATH: process.env.PATH, HOME: DIRECTORY }
  const { status, stdout, stderr } = spawnSync(...kubectlCommand(...args), { encoding: 'utf8', env, input, timeout: 120_000 })
  if (status !== 0) throw new Error(`kubectl ${args.join(' ')}: ${stderr}${stdout}`)
  return stdout
}

export const controlPlaneLog = (name: string) => readFileSync(join(DIRECTORY, `${name}.log`), 'utf8').slice(-2000)
