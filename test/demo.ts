/**
 * `npm run demo`: two pods on one node, with links, traffic and the way back, on namespaces of its
 * own. Fails loudly at the first step that does not do what it says.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'

const plugin = resolve(import.meta.dirname, '../dist/tunlink')
const id = process.pid
const node = `tunlink-demo-${id}`
const pods = [`tunlink-demo-${id}-pod1`, `tunlink-demo-${id}-pod2`]
const dataDir = mkdtempSync(join(tmpdir(), 'tunlink-demo-'))
const conf = {
  cniVersion: '1.1.0',
  name: 'demo',
  type: 'tunlink',
  dataDir,
  agent: { idleSeconds: 2 },
  ipam: { type: 'tunlink', ranges: [[{ subnet: '10.66.0.0/24' }], [{ subnet: 'fd66::/64' }]] },
}

type Result = { ips: { address: string; gateway: string }[] }

const step = (text: string) => console.log(`\n== ${text}`)
const show = (text: string) => console.log(text.trimEnd().replace(/^/gm, '   '))
const inside = (netns: string, ...command: string[]) => execFileSync('ip', ['netns', 'exec', netns, ...command], { encoding: 'utf8' })

function cni(command: string, pod: string): Result | undefined {
  const { status, stdout, stderr } = spawnSync('ip', ['netns', 'exec', node, plugin], {
    input: JSON.stringify(conf),
    encoding: 'utf8',
    env: {
      PATH: process.env.PATH,
      CNI_COMMAND: command,
      CNI_CONTAINERID: pod,
      CNI_NETNS: `/run/netns/${pod}`,
      CNI_IFNAME: 'eth0',
      CNI_PATH: resolve(plugin, '..'),
    },
  })
  if (status !== 0) throw new Error(`${command} of ${pod} failed: ${stdout}${stderr}`)
  return stdout === '' ? undefined : JSON.parse(stdout)
}

async function transfer(from: string, to: string, address: string): Promise<void> {
  const listening =
    "const s=require('net').createServer(c=>{const h=require('crypto').createHash('sha256');let n=0;c.on('data',d=>{n+=d.length;h.update(d)});c.on('end',()=>{console.log(n,h.digest('hex'));s.close()})}).listen(5001,()=>console.log('ready'))"
  const sending = `const c=require('net').connect(5001,'${address}',()=>{const h=require('crypto').createHash('sha256');const b=require('crypto').randomBytes(1<<20);let i=0;(function go(){while(i<1024){i++;h.update(b);if(!c.write(b))return c.once('drain',go)}c.end(()=>console.log(i*b.length,h.digest('hex')))})()})`
  const receiver = spawn('ip', ['netns', 'exec', to, process.execPath, '-e', listening], { stdio: ['ignore', 'pipe', 'inherit'] })
  let received = ''
  receiver.stdout.setEncoding('utf8').on('data', (text: string) => (received += text))
  while (!received.includes('ready')) await new Promise(done => setTimeout(done, 20))
  const started = Date.now()
  const sent = inside(from, process.execPath, '-e', sending).trim()
  await new Promise(done => receiver.on('close', done))
  const got = received.replace('ready', '').trim()
  show(`sent     ${sent}\nreceived ${got}\nin ${((Date.now() - started) / 1000).toFixed(1)} s`)
  if (sent !== got || !sent.startsWith(String(2 ** 30))) throw new Error('the transfer is not what was sent')
}

function ping(from: string, to: string): void {
  show(
    inside(from, 'ping', '-c', '2', '-i', '0.2', '-W', '2', to)
      .split('\n')
      .at(-3)!
      .replace(/^/, `${from === node ? 'node' : from.replace(/.*-/, '')} -> ${to}: `),
  )
}

async function demo(): Promise<void> {
  for (const netns of [node, ...pods]) {
    execFileSync('ip', ['netns', 'add', netns])
    inside(netns, 'ip', 'link', 'set', 'lo', 'up')
  }
  step('ADD: two pods, IPv4 and IPv6')
  const addresses = pods.map(pod => cni('ADD', pod)!.ips.map(ip => ip.address.split('/')[0]!))
  for (const pod of pods) show(inside(pod, 'ip', '-d', 'addr', 'show', 'dev', 'eth0'))
  step('The node, with its ends of the links')
  show(inside(node, 'ip', '-br', 'addr'))
  step('Ping: pod to node, node to pod, pod to pod')
  for (const gateway of ['10.66.0.1', 'fd66::1']) ping(pods[0]!, gateway)
  for (const address of addresses[0]!) ping(node, address)
  for (const address of addresses[1]!) ping(pods[0]!, address)
  step('1 GiB over TCP from pod to pod, with its SHA-256')
  await transfer(pods[0]!, pods[1]!, addresses[1]![0]!)
  step('DEL, and nothing is left')
  for (const pod of pods) cni('DEL', pod)
  const links = [node, ...pods]
    .flatMap(netns => JSON.parse(inside(netns, 'ip', '-j', 'link')) as { ifname: string }[])
    .filter(({ ifname }) => ifname !== 'lo')
  const files = ['links/demo', 'ipam/demo', 'ipam/demo/.owners']
    .flatMap(dir => (existsSync(join(dataDir, dir)) ? readdirSync(join(dataDir, dir)) : []))
    .filter(name => name !== '.owners')
  show(`links: ${links.length}, records and leases: ${files.length}`)
  if (links.length + files.length > 0) throw new Error(`left behind: ${JSON.stringify([links, files])}`)
  await agentEnds()
  show('agent: ended by itself')
}

async function agentEnds(): Promise<void> {
  for (let waited = 0; existsSync(join(dataDir, 'agent.sock')); waited++) {
    if (waited > 100) throw new Error(`the agent is still there, see ${dataDir}/agent.log`)
    await new Promise(done => setTimeout(done, 100))
  }
}

if (process.getuid?.() !== 0) {
  console.error('The demo makes network namespaces and TUN devices: run it as root')
  process.exit(1)
}
let failed = true
try {
  await demo()
  failed = false
  console.log('\nDemo passed')
} catch (error) {
  console.error(`\nDEMO FAILED: ${(error as Error).message}`)
  if (existsSync(join(dataDir, 'agent.log'))) show(execFileSync('tail', ['-n', '20', join(dataDir, 'agent.log')], { encoding: 'utf8' }))
} finally {
  for (const pod of pods) spawnSync('ip', ['netns', 'exec', node, 'true']).status === 0 && failed && trySilently(() => cni('DEL', pod))
  for (const netns of [node, ...pods]) spawnSync('ip', ['netns', 'del', netns])
  if (!failed) rmSync(dataDir, { recursive: true, force: true })
}
process.exitCode = failed ? 1 : 0

function trySilently(body: () => void): void {
  try {
    body()
  } catch {
    // The failure that brought us here has been reported.
  }
}
