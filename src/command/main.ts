/** The command line: `agent`, `status`, `ls`, `show`, `--version`, `--help`. */
import { parseArgs } from 'node:util'
import { ask, noAgent } from '../agent/client.ts'
import { PROTOCOL, VERSION } from '../agent/protocol.ts'
import { SUPPORTED } from '../cni/version.ts'
import type { LinkPlan } from '../link/plan.ts'
import { recordList } from '../link/record.ts'

const HELP = `tunlink ${VERSION}: a CNI plugin that gives a pod a true point-to-point link (a TUN device)

Run by a container runtime with CNI_COMMAND set, it is the plugin. Otherwise:
  tunlink agent [--data-dir DIR] [OPTION...]             keep the wires of the links whose far end is the node
      --idle-exit SECONDS        end when there was no link for so long; 0, the default: never
      --leave-cgroup             move to the root of every cgroup hierarchy, so as not to end with the caller's group
      --protocol                 print the version of the agent's protocol, and end
      --wire io_uring|epoll      how packets are passed; default: io_uring where it is allowed and Linux is 6.7 or later
      --spin MICROSECONDS        look for more packets for so long before sleeping: less latency for more CPU; default 0
  tunlink status [--data-dir DIR]                        the agent's state, as JSON
  tunlink ls [--data-dir DIR]                            the links on record, a line each
  tunlink show NETWORK CONTAINERID IFNAME [--data-dir DIR]   one link's plan and counters, as JSON
  tunlink --version | --help
DIR is /run/tunlink unless given.
`

/** Resolves with the exit status. */
export async function runCommand(argv: string[]): Promise<number> {
  const { values, positionals } = parseCommandLine(argv)
  if (values.help) return write(HELP)
  if (values.version) return write(`${VERSION}\n`)
  const dataDir = values['data-dir']
  switch (positionals[0]) {
    case undefined:
      process.stderr.write(`CNI tunlink plugin ${VERSION}\nCNI protocol versions supported: ${SUPPORTED.join(', ')}\n`)
      return 0
    case 'agent':
      return values.protocol ? write(`${PROTOCOL}\n`) : agent(values)
    case 'status':
      return status(dataDir)
    case 'ls':
      return ls(dataDir)
    case 'show':
      return show(dataDir, positionals.slice(1))
    default:
      process.stderr.write(`Unknown command "${positionals[0]}"\n${HELP}`)
      return 2
  }
}

function parseCommandLine(argv: string[]) {
  try {
    return parseArgs({
      args: argv,
      allowPositionals: true,
      options: {
        'data-dir': { type: 'string', default: '/run/tunlink' },
        'idle-exit': { type: 'string', default: '0' },
        'leave-cgroup': { type: 'boolean', default: false },
        protocol: { type: 'boolean', default: false },
        spin: { type: 'string', default: '0' },
        wire: { type: 'string' },
        help: { type: 'boolean', short: 'h', default: false },
        version: { type: 'boolean', short: 'v', default: false },
      },
    })
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`)
    process.exit(2)
  }
}

async function agent(values: ReturnType<typeof parseCommandLine>['values']): Promise<number> {
  const { runAgent } = await import('../agent/start.ts')
  const { 'data-dir': dataDir, 'idle-exit': idle, 'leave-cgroup': leaveCgroup, spin, wire } = values
  // not __filename: in what Bun compiles that is a path of the machine that compiled it
  const entry = process.argv[1]!
  const wires = { entry, spin: amount('--spin', spin), mode: wireMode(wire) }
  try {
    const serves = await runAgent({ dataDir, idleSeconds: amount('--idle-exit', idle), leaveCgroup, wires })
    if (!serves) process.stderr.write(`Another agent serves ${dataDir} already\n`)
    return 0
  } catch (error) {
    process.stderr.write(`Cannot start the agent: ${(error as Error).message}\n`)
    return 1
  }
}

function amount(option: string, text: string): number {
  const value = Number(text)
  if (text !== '' && Number.isInteger(value) && value >= 0) return value
  process.stderr.write(`${option} must be a whole number, not "${text}"\n`)
  process.exit(2)
}

function wireMode(text: string | undefined): 'io_uring' | 'epoll' | undefined {
  if (text === undefined || text === 'io_uring' || text === 'epoll') return text
  process.stderr.write(`--wire must be io_uring or epoll, not "${text}"\n`)
  process.exit(2)
}

/** A record that cannot be used is named on stderr, and hides no other. */
function ls(dataDir: string): number {
  const { plans, broken } = recordList(dataDir)
  for (const { file, reason } of broken) process.stderr.write(`The record ${file} cannot be used: ${reason}\n`)
  const line = ({ network, containerID, ifname, farEnd, wire, pod }: LinkPlan) =>
    `${network} ${containerID} ${ifname} ${farEnd} ${wire ?? '-'} ${pod.addresses.map(({ local }) => local).join(',')}\n`
  return write(plans.map(line).join(''))
}

async function status(dataDir: string): Promise<number> {
  try {
    return write(`${JSON.stringify(await ask(dataDir, { op: 'status' }))}\n`)
  } catch (error) {
    process.stderr.write(noAgent(error) ? `No agent answers at ${dataDir}/agent.sock\n` : `${(error as Error).message}\n`)
    return 1
  }
}

async function show(dataDir: string, [network, containerID, ifname]: string[]): Promise<number> {
  const plan = recordList(dataDir, network).plans.find(plan => plan.containerID === containerID && plan.ifname === ifname)
  if (plan === undefined) {
    process.stderr.write(`No link "${ifname}" of container "${containerID}" in network "${network}" on record in ${dataDir}\n`)
    return 1
  }
  const links = await ask(dataDir, { op: 'list' }).then(
    answer => answer.links,
    () => [],
  )
  return write(`${JSON.stringify({ plan, wire: links.find(({ link }) => link === plan.host?.ifname) }, null, 2)}\n`)
}

function write(text: string): number {
  process.stdout.write(text)
  return 0
}
