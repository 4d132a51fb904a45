/** The verbs for a configuration of another plugin that names this one under `ipam.type`. */
import { ipamDataDirOf } from '../cni/data-dir.ts'
import type { Environment } from '../cni/environment.ts'
import { CniError, CODE } from '../cni/error.ts'
import { parseIpamConf } from '../cni/netconf.ts'
import { printResult } from '../cni/result.ts'
import { type IpamInput, ipamAdd, ipamCheck, ipamDel, ipamGc, ipamStatus } from '../ipam/plugin.ts'
import { verifyOwner } from '../link/data-dir.ts'
import { tell } from '../linux/read-write.ts'

/** Returns the text to print, undefined for nothing. */
export function runIpam(environment: Environment, stdin: string): string | undefined {
  const conf = parseIpamConf(stdin, environment)
  for (const warning of conf.warnings) tell(`tunlink: ${warning}`)
  const input: IpamInput = {
    network: conf.name,
    containerID: environment.containerID,
    ifname: environment.ifname,
    cniIfname: environment.ifname,
    dataDir: ipamDataDirOf(conf.ipam),
    ipam: conf.ipam,
    requestedIPs: conf.requestedIPs,
  }
  verifyDirectory(environment, input)
  switch (environment.command) {
    case 'ADD': {
      const { ips, routes, dns } = ipamAdd(input)
      const gatewayed = ips.map(({ address, gateway, peer }) => ({ address, gateway: gateway ?? peer }))
      return printResult({ cniVersion: conf.cniVersion, interfaces: [], ips: gatewayed, routes, dns: dns ?? {} }, conf.cniVersion)
    }
    case 'DEL':
      return void ipamDel(input)
    case 'CHECK':
      return void ipamCheck(input)
    case 'GC':
      if (conf.validAttachments === undefined) throw new CniError(CODE.invalidConfig, '"cni.dev/valid-attachments" is missing')
      return void ipamGc(input, conf.validAttachments)
    case 'STATUS':
      return void ipamStatus(input)
  }
}

/** Throws CniError 5, and for STATUS 50: see verifyOwner(). */
function verifyDirectory({ command }: Environment, { dataDir, network }: IpamInput): void {
  try {
    verifyOwner(dataDir, network)
  } catch (error) {
    if (command !== 'STATUS') throw error
    throw new CniError(CODE.pluginNotAvailable, 'plugin not available', (error as Error).message)
  }
}
