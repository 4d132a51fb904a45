/**
 * STATUS: fails with code 50 when an ADD would fail now, and with 51 when existing pods have lost
 * their network, too.
 */
import { closeSync, constants, fsyncSync, lstatSync, openSync, rmSync, statSync, writeSync } from 'node:fs'
import { agentHangs, agentIsForeign, ask, noAgent } from '../agent/client.ts'
import { CniError, CODE } from '../cni/error.ts'
import { BUILT_IN_IPAM, type NetConf } from '../cni/netconf.ts'
import { parseIpam } from '../ipam/pool.ts'
import { openDataDir } from '../link/data-dir.ts'
import { firewallRefusal } from '../link/firewall.ts'
import { recordList } from '../link/record.ts'
import { ipv6Refusal, sysctlRefusal } from '../link/sysctls.ts'
import { chooseWire, kernelRefusal, tunRefusal } from '../wire/choose.ts'
import type { Context } from './context.ts'
import { ipamOf } from './ipam.ts'
import { unavailable } from './status-error.ts'

/**
 * Throws CniError 50 or 51; 7 for a configuration that every ADD refuses. `notStarted` is why no
 * agent could be started where links need one, see reviveAgent().
 */
export async function status(context: Context, notStarted?: Error): Promise<void> {
  const { conf } = context
  attempt('/dev/net/tun', verifyTun)
  attempt(`"dataDir" ${conf.dataDir}`, () => verifyDataDir(conf.dataDir, conf.name))
  if (conf.farEnd === 'host') verifyNode(conf)
  else verifyAttach(conf)
  await verifyAgent(conf, notStarted)
  attempt(`ipam "${conf.ipam?.type}"`, () => ipamOf(context).status())
}

/** Throws an error that says what failed. */
function attempt(what: string, body: () => void): void {
  try {
    body()
  } catch (error) {
    throw unavailable(`${what}: ${(error as Error).message}`)
  }
}

function refuseIf(what: string, refusal: string | undefined): void {
  if (refusal !== undefined) throw unavailable(`${what}: ${refusal}`)
}

/**
 * The questions of STATUS, one by one: each throws when its answer is bad. `tunlink doctor` asks
 * them, too.
 */
export const QUESTIONS = {
  tun: () => verifyTun(),
  dataDir: (dataDir: string) => verifyDataDir(dataDir),
  agent: (conf: NetConf) => verifyAgent(conf),
}

// major 10 (misc), minor 200: Documentation/admin-guide/devices.txt
const TUN_DEVICE = (10 << 8) | 200

function verifyTun(): void {
  const { rdev } = statSync('/dev/net/tun')
  if (rdev !== TUN_DEVICE || !lstatSync('/dev/net/tun').isCharacterDevice())
    throw new Error('it is not the TUN device (character device 10:200)')
  closeSync(openSync('/dev/net/tun', constants.O_RDWR))
}

/** Writes, as an ADD does: only so is a full or read-only file system noticed. */
function verifyDataDir(dataDir: string, network?: string): void {
  openDataDir(dataDir, network)
  const file = `${dataDir}/.status-${process.pid}`
  rmSync(file, { force: true }) // left by a killed process with this number
  try {
    const fd = openSync(file, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, 0o600)
    try {
      writeSync(fd, Buffer.alloc(4096, 1)) // a record is smaller
      fsyncSync(fd)
    } finally {
      closeSync(fd)
    }
  } finally {
    rmSync(file, { force: true })
  }
}

function verifyAttach(conf: NetConf): void {
  refuseIf('no TUN device can be made', tunRefusal())
  if (familiesOf(conf).ipv6) refuseIf('"ipam" has IPv6 ranges', ipv6Refusal())
}

function verifyNode(conf: NetConf): void {
  const wire = chooseWire(conf.wire, conf.mtu ?? 0)
  if (wire === 'thread') refuseIf('no TUN device can be made', tunRefusal())
  refuseIf('nf_tables, which keep pods from sending from addresses of others, cannot be used', firewallRefusal(conf.ipMasq))
  refuseIf('a link cannot be set up', sysctlRefusal(familiesOf(conf)))
}

/** The families of the built-in IPAM's ranges; IPv4 when another plugin or the runtime decides. */
function familiesOf({ ipam }: NetConf): { ipv4: boolean; ipv6: boolean } {
  if (ipam?.type !== BUILT_IN_IPAM) return { ipv4: true, ipv6: false }
  const families = parseIpam(ipam).sets.map(set => set[0]!.family)
  return { ipv4: families.includes(4), ipv6: families.includes(6) }
}

/** Thread wires on record that no agent serves: their pods have no network. */
async function verifyAgent({ dataDir, farEnd, wire, agent }: NetConf, notStarted?: Error): Promise<void> {
  const threads = recordList(dataDir).plans.filter(plan => plan.wire === 'thread').length
  const needsAgent = farEnd === 'host' && (wire === 'thread' || kernelRefusal() !== undefined)
  if (agentHangs(notStarted)) throw unavailable(notStarted!.message)
  try {
    const { unserved } = await ask(dataDir, { op: 'status' })
    if (unserved > 0)
      throw new CniError(CODE.limitedConnectivity, 'limited connectivity', `${unserved} thread wires on record are not served`)
  } catch (error) {
    if (error instanceof CniError && error.code === CODE.limitedConnectivity) throw error
    if (agentIsForeign(error)) return // an ADD replaces it
    if (!noAgent(error)) throw unavailable((error as Error).message)
    const none = `no agent answers at ${dataDir}/agent.sock`
    if (threads > 0)
      throw new CniError(CODE.limitedConnectivity, 'limited connectivity', `${none}, and ${threads} thread wires are on record`)
    if (needsAgent && notStarted !== undefined) throw unavailable(`${none}: ${notStarted.message}`)
    if (needsAgent && !agent.spawn) throw unavailable(`${none}, and "agent.spawn" is false`)
  }
}
