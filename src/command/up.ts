/** `tunlink up`. */
import { familyOf, hostCidr, parseAddress, parseCidr } from '../address.ts'
import { verifyIfname } from '../cni/environment.ts'
import { CniError } from '../cni/error.ts'
import { LEAST_MTU, MOST_MTU } from '../cni/link-keys.ts'
import { apply } from '../link/apply.ts'
import { openDataDir } from '../link/data-dir.ts'
import { defaultRouteMtu } from '../link/default-mtu.ts'
import { type Attachment, type LinkPlan, planLink } from '../link/plan.ts'
import { recordRead, recordWrite } from '../link/record.ts'
import { ifNameToIndex } from '../linux/libc.ts'
import { NetlinkSocket } from '../linux/netlink.ts'
import type { Netns } from '../linux/netns.ts'
import type { Route } from '../linux/route.ts'
import { LoneKeeper, takeUp } from '../plugin/lone-keeper.ts'
import type { Context } from '../verbs/context.ts'
import { removeAttachment } from '../verbs/link.ts'
import { openNetns } from '../verbs/netns.ts'
import { chooseWire } from '../wire/choose.ts'
import { alone, BY_HAND, containerIDOf, contextOf, netnsPath } from './by-hand.ts'
import { type Command, CommandError, DATA_DIR, type Given, usageError } from './command.ts'
import { print } from './output.ts'

/** Bytes: the MTU of Ethernet. */
const ATTACH_MTU = 1500

export const command: Command = {
  usage: 'up --netns NETNS --local ADDRESS --peer ADDRESS [OPTION...]',
  about: `Makes a link by hand, as an ADD does: a TUN in the network namespace NETNS (a name of ip-netns(8), a
path, or a process ID) with the address "local peer PEER", and the node as its far end.
  ip netns add blue
  tunlink up --netns blue --local 10.66.66.1 --peer 10.66.66.2
  ip netns exec blue ping 10.66.66.2
  tunlink down blue
With --owner or --group nobody is at the far end until a process of that user attaches to the TUN.
The link stays until "tunlink down", or until its namespace is deleted.`,
  options: {
    netns: { value: 'NETNS', help: 'where the TUN is made' },
    local: { value: 'ADDRESS', multiple: true, help: 'the TUN’s address; one per family' },
    peer: { value: 'ADDRESS', multiple: true, help: 'the far end’s address; one per family' },
    ifname: { value: 'NAME', default: 'tun0', help: 'the TUN’s name' },
    route: { value: 'CIDR', multiple: true, help: 'a route over the link, such as 0.0.0.0/0' },
    mtu: { value: 'BYTES', help: 'default: that of the node’s default route' },
    wire: { value: 'auto|kernel|thread', help: 'what carries the packets; default: auto' },
    masquerade: { help: 'masquerade what leaves the node' },
    owner: { value: 'UID', help: 'the far end is a process of this user' },
    group: { value: 'GID', help: 'the far end is a process of this group' },
    'data-dir': DATA_DIR,
  },
  run: up,
}

async function up(given: Given): Promise<number> {
  const netnsText = given.text('netns')
  if (netnsText === undefined) throw usageError('--netns is missing', 'it says where the TUN is made')
  const path = netnsPath(netnsText)
  const attachment = { network: BY_HAND, containerID: containerIDOf(path), ifname: given.text('ifname')! }
  const keys = keysOf(given)
  const context = ofCommandLine(() => {
    verifyIfname(attachment.ifname, '--ifname')
    return contextOf('ADD', attachment, path, keys)
  })
  using netns = openNetns(path, context.environment)
  openDataDir(given.dataDir)
  const plan = await alone(given.dataDir, async () => {
    refuseTaken(given.dataDir, attachment, netns)
    const plan = planOf(context, attachment, netns, given.texts('route'))
    await make(plan, context, netns)
    return plan
  })
  const lines = plan.pod.addresses.map(({ local, peer }) => `  ${local}${peer === undefined ? '' : ` peer ${peer}`}\n`).join('')
  return print(`${plan.ifname} in ${path} is up (${plan.wire === undefined ? 'attach to it' : `wire ${plan.wire}`})\n${lines}`)
}

/** What the plugin refuses of its input is wrong on the command line. Throws CommandError 2. */
function ofCommandLine<T>(body: () => T): T {
  try {
    return body()
  } catch (error) {
    if (error instanceof CniError) throw usageError(error.message, error.details)
    throw error
  }
}

/** The keys of a network configuration that the options set. */
function keysOf(given: Given): object {
  const [locals, peers] = [given.texts('local'), given.texts('peer')]
  if (locals.length === 0) throw usageError('--local is missing', 'such as --local 10.66.66.1')
  if (peers.length === 0) throw usageError('--peer is missing', 'such as --peer 10.66.66.2')
  verifyAddresses('--local', locals)
  verifyAddresses('--peer', peers)
  verifyPairs(locals, peers)
  const [owner, group] = [given.number('owner'), given.number('group')]
  const isAttach = owner !== undefined || group !== undefined
  return {
    dataDir: given.dataDir,
    farEnd: isAttach ? 'attach' : 'host',
    peer: peers,
    mtu: given.number('mtu', LEAST_MTU, MOST_MTU),
    owner,
    group,
    wire: given.choice('wire', ['auto', 'kernel', 'thread']),
    ipMasq: given.flag('masquerade'),
    capabilities: { ips: true },
    runtimeConfig: { ips: locals },
  }
}

function verifyAddresses(option: string, addresses: string[]): void {
  const wrong = addresses.find(address => parseAddress(address) === undefined && parseCidr(address) === undefined)
  if (wrong !== undefined) throw usageError(`${option} must be an address, not ${JSON.stringify(wrong)}`)
}

/** Each family is on both sides: the other side's default would be an address that nobody named. */
function verifyPairs(locals: string[], peers: string[]): void {
  for (const [option, addresses, other, others] of [
    ['--local', locals, '--peer', peers],
    ['--peer', peers, '--local', locals],
  ] as const) {
    const alone = addresses.find(address => !others.some(candidate => familyOf(candidate) === familyOf(address)))
    if (alone !== undefined)
      throw usageError(`${option} ${alone} has no ${other} beside it`, `give one of ${familyOf(alone) === 4 ? 'IPv4' : 'IPv6'} too`)
  }
  const both = peers.find(peer => locals.includes(peer))
  if (both !== undefined) throw usageError(`--local and --peer are both ${both}`, 'the far end needs an address of its own')
}

function refuseTaken(dataDir: string, attachment: Attachment, netns: Netns): void {
  const { containerID, ifname } = attachment
  if (recordRead(dataDir, attachment) !== undefined)
    throw new CommandError(`${containerID} has a link ${ifname} already`, `"tunlink down ${containerID}" removes it`)
  if (netns.enter(() => ifNameToIndex(ifname)) !== 0)
    throw new CommandError(`there is a device ${ifname} in ${containerID} already`, 'give another name with --ifname')
}

function planOf({ conf, environment }: Context, attachment: Attachment, netns: Netns, destinations: string[]): LinkPlan {
  const mtu = conf.mtu ?? (conf.farEnd === 'host' ? nodeMtu() : ATTACH_MTU)
  const wire = conf.farEnd === 'host' ? chooseWire(conf.wire, mtu) : undefined
  const ips = conf.requestedIPs.map(address => ({ address: address.includes('/') ? address : hostCidr(address) }))
  return planLink(conf, attachment, { netns: environment.netns, netnsId: netns.id, wire, mtu }, { ips, routes: destinations.map(routeTo) })
}

function nodeMtu(): number {
  using node = new NetlinkSocket()
  return defaultRouteMtu(node)
}

function routeTo(dst: string): Route {
  if (parseCidr(dst) === undefined) throw usageError(`--route must be a network such as 10.0.0.0/8, not ${JSON.stringify(dst)}`)
  return { dst }
}

/** Writes the record first, then makes the link. A failure is undone. */
async function make(plan: LinkPlan, { conf }: Context, netns: Netns): Promise<void> {
  const keeper = new LoneKeeper(conf)
  try {
    recordWrite(conf.dataDir, plan)
    await keeper.keep(plan, apply(plan, conf.dataDir, netns))
  } catch (error) {
    await removeAttachment(plan, conf.dataDir, keeper, () => {}, netns)
    if (error instanceof CniError && error.details?.includes('has such a route already'))
      throw new CommandError(error.message, 'the namespace has such a route already: leave out --route')
    throw error
  }
  if (plan.host !== undefined) await takeUp(conf, plan)
}
