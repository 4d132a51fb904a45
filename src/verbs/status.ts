/**
 * STATUS: fails with code 50 when an ADD would fail now, and with 51 when pods that are there have
 * lost their network too.
 */
import { closeSync, constants, fsyncSync, lstatSync, openSync, rmSync, statSync, writeSync } from 'node:fs'
import { ask, noAgent } from '../agent/client.ts'
import { CniError, CODE } from '../cni/error.ts'
import type { NetConf } from '../cni/netconf.ts'
import { parseIpam } from '../ipam/pool.ts'
import { openDataDir } from '../link/data-dir.ts'
import { firewallRefusal } from '../link/firewall.ts'
import { recordList } from '../link/record.ts'
import { sysctlGet, sysctlIsWritable } from '../linux/sysctl.ts'
import { chooseWire, kernelRefusal, tunRefusal } from '../wire/choose.ts'
import { BUILT_IN_IPAM, type Context } from './context.ts'
import { ipamOf } from './ipam.ts'

const unavailable = (details: string) => new CniError(CODE.pluginNotAvailable, 'plugin not available', details)

export async function status(context: Context): Promise<void> {
  const { conf } = context
  attempt('/dev/net/tun', verifyTun)
  attempt(`"dataDir" ${conf.dataDir}`, () => verifyDataDir(conf))
  if (conf.farEnd === 'host') verifyNode(conf)
  else refuseIf('no TUN device can be made', tunRefusal())
  await verifyAgent(conf)
  attempt(`ipam "${conf.ipam?.type}"`, () => ipamOf(context).status())
}

/** Says what failed. */
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

// major 10 (misc), minor 200: Documentation/admin-guide/devices.txt
const TUN_DEVICE = (10 << 8) | 200

function verifyTun(): void {
  const { rdev } = statSync('/dev/net/tun')
  if (rdev !== TUN_DEVICE || !lstatSync('/dev/net/tun').isCharacterDevice())
    throw new Error('it is not the TUN device (character device 10:200)')
  closeSync(openSync('/dev/net/tun', constants.O_RDWR))
}

/** As an ADD does: a full or read-only file system is found by writing. */
function verifyDataDir({ dataDir, name: network }: NetConf): void {
  openDataDir(dataDir, network)
  const file = `${dataDir}/.status-${process.pid}`
  try {
    const fd = openSync(file, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, 0o600)
    try {
      writeSync(fd, Buffer.alloc(4096, 1)) // a record takes less
      fsyncSync(fd)
    } finally {
      closeSync(fd)
    }
  } finally {
    rmSync(file, { force: true })
  }
}

function verifyNode(conf: NetConf): void {
  const wire = chooseWire(conf.wire, conf.mtu ?? 0)
  if (wire === 'thread') refuseIf('no TUN device can be made', tunRefusal())
  refuseIf('nf_tables, which keep pods from sending from addresses of others, cannot be used', firewallRefusal(conf.ipMasq))
  verifySysctl('net', 'ipv4', 'ip_forward')
  if (!usesIPv6(conf)) return
  if (sysctlGet(['net', 'ipv6', 'conf', 'all', 'forwarding']) === undefined)
    throw unavailable('"ipam" has IPv6 ranges, but this kernel has no IPv6')
  verifySysctl('net', 'ipv6', 'conf', 'all', 'forwarding')
}

function verifySysctl(...key: string[]): void {
  if (sysctlGet(key) !== '1' && !sysctlIsWritable(key))
    throw unavailable(`sysctl ${key.join('.')} is not 1, and /proc/sys cannot be written`)
}

function usesIPv6({ ipam }: NetConf): boolean {
  return ipam?.type === BUILT_IN_IPAM && parseIpam(ipam).sets.some(set => set[0]!.family === 6)
}

/** Thread wires on record that nobody serves: their pods have no network. */
async function verifyAgent({ dataDir, farEnd, wire, agent }: NetConf): Promise<void> {
  const threads = recordList(dataDir).plans.filter(plan => plan.wire === 'thread').length
  const needsAgent = farEnd === 'host' && (wire === 'thread' || kernelRefusal() !== undefined)
  try {
    const { unserved } = await ask(dataDir, { op: 'status' })
    if (unserved > 0)
      throw new CniError(CODE.limitedConnectivity, 'limited connectivity', `${unserved} thread wires on record are not served`)
  } catch (error) {
    if (error instanceof CniError && error.code === CODE.limitedConnectivity) throw error
    if (!noAgent(error)) throw unavailable((error as Error).message)
    const none = `no agent answers at ${dataDir}/agent.sock`
    if (threads > 0)
      throw new CniError(CODE.limitedConnectivity, 'limited connectivity', `${none}, and ${threads} thread wires are on record`)
    if (needsAgent && !agent.spawn) throw unavailable(`${none}, and "agent.spawn" is false`)
  }
}
