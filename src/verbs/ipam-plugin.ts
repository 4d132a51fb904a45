/**
 * The IPAM plugin: what a configuration of another plugin gets that names this one under
 * `ipam.type`.
 */
import { ipamDataDirOf } from '../cni/data-dir.ts'
import type { Environment } from '../cni/environment.ts'
import { CniError, CODE } from '../cni/error.ts'
import { parseIpamConf } from '../cni/netconf.ts'
import { printResult } from '../cni/result.ts'
import { type IpamInput, ipamAdd, ipamCheck, ipamDel, ipamGc, ipamStatus } from '../ipam/plugin.ts'

/** What to print, undefined for nothing. */
export function runIpam(environment: Environment, stdin: string): string | undefined {
  const conf = parseIpamConf(stdin, environment)
  for (const warning of conf.warnings) process.stderr.write(`tunlink: ${warning}\n`)
  const input: IpamInput = {
    network: conf.name,
    containerID: environment.containerID,
    ifname: environment.ifname,
    dataDir: ipamDataDirOf(conf.ipam),
    ipam: conf.ipam,
    requestedIPs: conf.requestedIPs,
  }
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
