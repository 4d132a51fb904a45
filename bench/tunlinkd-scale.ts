/**
 * `node bench/tunlinkd-scale.ts`: tunlinkd of one node in a large cluster, against an API of its
 * own, in a network namespace; root, after a build. Prints the time to all routes, the CPU that
 * heartbeats cost, and memory. NODES (2500), HEARTBEATS a second (8), SECONDS (30).
 */
import { execFileSync, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { kubeconfig } from '../test/kubeconfig.ts'

const NODES = Number(process.env.NODES ?? 2500)
const HEARTBEATS = Number(process.env.HEARTBEATS ?? 8)
const SECONDS = Number(process.env.SECONDS ?? 30)
const PORT = 8001
const CLOCK_TICKS = 100 // sysconf(_SC_CLK_TCK), on every Linux that there is
const root = resolve(import.meta.dirname, '..')
const netns = `tlb-${process.pid}`
const directory = mkdtempSync(join(tmpdir(), 'tunlinkd-scale-'))
const inside = (...command: string[]) => execFileSync('ip', ['netns', 'exec', netns, ...command], { encoding: 'utf8' })

/** A Node as a kubelet reports it: with 50 images it has some 10 KB. */
function k8sNode(index: number) {
  const [high, low] = [index >> 8, index & 255]
  const images = Array.from({ length: 50 }, (_, image) => ({
    names: [
      `registry.example.com/team-${image}/service-${image}@sha256:${'0123456789abcdef'.repeat(4)}`,
      `registry.example.com/team-${image}/service-${image}:v1.${image}`,
    ],
    sizeBytes: 12345678 + image,
  }))
  const conditions = ['MemoryPressure', 'DiskPressure', 'PIDPressure', 'Ready'].map(type => ({
    type,
    status: type === 'Ready' ? 'True' : 'False',
    lastHeartbeatTime: new Date().toISOString(),
    reason: 'KubeletHas',
    message: 'as it should be',
  }))
  const podCIDR = `10.${128 + high}.${low}.0/24`
  const addresses = [
    { type: 'InternalIP', address: `172.${16 + high}.${low}.1` },
    { type: 'Hostname', address: `n${index}` },
  ]
  return { metadata: { name: `n${index}` }, spec: { podCIDR, podCIDRs: [podCIDR] }, status: { addresses, conditions, images } }
}

/** CPU seconds of a process so far, and its resident memory in MB: proc_pid_stat(5). */
function usage(pid: number): { cpu: number; rss: number } {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ')
  const rss = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
  return { cpu: (Number(fields[11]) + Number(fields[12])) / CLOCK_TICKS, rss: Number(rss?.[1] ?? 0) / 1024 }
}

async function until(what: string, condition: () => boolean): Promise<void> {
  for (let tries = 0; !condition(); tries++) {
    if (tries > 1200) throw new Error(`did not happen within a minute: ${what}`)
    await sleep(50)
  }
}

const routes = () => inside('ip', 'route', 'show', 'proto', '77').split('\n').length - 1

execFileSync('ip', ['netns', 'add', netns])
inside('ip', 'link', 'set', 'lo', 'up')
inside('ip', 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'wire')
inside('ip', 'link', 'set', 'wire', 'up')
inside('ip', 'address', 'add', '172.16.0.1/12', 'dev', 'eth0')
inside('ip', 'link', 'set', 'eth0', 'up')
inside('ip', 'route', 'add', 'default', 'via', '172.16.0.2')
writeFileSync(join(directory, 'kubeconfig'), kubeconfig(PORT))
for (const name of ['bin', 'conf', 'data']) mkdirSync(join(directory, name))
const api = spawn('ip', ['netns', 'exec', netns, process.execPath, join(root, 'test/tunlinkd/fake-api.ts'), String(PORT)], {
  stdio: ['pipe', 'pipe', 'inherit'],
})
let said = ''
api.stdout.on('data', chunk => (said += chunk))
const paths = { 'cni-bin-dir': 'bin', 'cni-conf-dir': 'conf', 'data-dir': 'data', config: 'config.json', kubeconfig: 'kubeconfig' }
const flags = Object.entries(paths).map(([flag, name]) => `--${flag}=${join(directory, name)}`)
let tunlinkd: ReturnType<typeof spawn> | undefined
let heartbeats: NodeJS.Timeout | undefined
try {
  await until('the API answers', () => said.includes('ready'))
  api.stdin.write(`${JSON.stringify(Array.from({ length: NODES }, (_, index) => k8sNode(index)))}\n`)
  await sleep(2_000)
  const started = Date.now()
  // as in the image, environment and all
  const program = [join(root, 'dist/tunlink'), join(root, 'dist/tunlinkd.cjs'), '--node-name=n0', ...flags]
  tunlinkd = spawn('ip', ['netns', 'exec', netns, ...program], {
    env: { ...process.env, BUN_BE_BUN: '1', MIMALLOC_PURGE_DELAY: '-1' },
    stdio: ['ignore', process.env.VERBOSE ? 'inherit' : 'ignore', 'inherit'],
  })
  const pid = tunlinkd.pid!
  await until('all routes are there', () => routes() === NODES)
  console.log(
    `${NODES} nodes, ${cpus().length} CPUs (${cpus()[0]?.model}): all routes after ${((Date.now() - started) / 1000).toFixed(1)} s`,
  )
  await sleep(5_000) // what start-up left to do
  let next = 0
  heartbeats = setInterval(() => api.stdin.write(`${JSON.stringify({ touch: `n${next++ % NODES}` })}\n`), 1000 / HEARTBEATS)
  for (let round = 0; round < 3; round++) {
    const before = usage(pid)
    await sleep((SECONDS * 1000) / 3)
    const { cpu, rss } = usage(pid)
    const percent = ((cpu - before.cpu) / (SECONDS / 3)) * 100
    console.log(`${HEARTBEATS} heartbeats a second: ${percent.toFixed(2)} % of a CPU, ${rss.toFixed(0)} MB`)
  }
} finally {
  clearInterval(heartbeats)
  tunlinkd?.kill('SIGTERM')
  api.kill('SIGKILL')
  await sleep(1_000)
  for (const pid of execFileSync('ip', ['netns', 'pids', netns], { encoding: 'utf8' }).split('\n').filter(Boolean))
    process.kill(Number(pid), 'SIGKILL') // the agent that tunlinkd has started
  execFileSync('ip', ['netns', 'del', netns])
  rmSync(directory, { recursive: true, force: true })
}
