/** The IPAM plugin: what a configuration of another plugin gets that names this one under `ipam.type`. */
import type { Environment } from '../cni/environment.ts'
import { CniError, CODE } from '../cni/error.ts'
import { parseNetConf } from '../cni/netconf.ts'
import { printResult } from '../cni/result.ts'
import { type IpamInput, ipamAdd, ipamCheck, ipamDel, ipamGc, ipamStatus } from '../ipam/plugin.ts'

/** What to print, undefined for nothing. */
export function runIpam(environment: Environment, stdin: string): string | undefined {
  const conf = parseNetConf(ipamKeysOnly(stdin), environment)
  const ipam = conf.ipam!
  const input: IpamInput = {
    network: conf.name,
    containerID: environment.containerID,
    ifname: environment.ifname,
    dataDir: typeof ipam.dataDir === 'string' ? ipam.dataDir : conf.dataDir,
    ipam,
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

/** The other keys are the other plugin's: `mac` is right for a bridge. */
function ipamKeysOnly(stdin: string): string {
  const raw = JSON.parse(stdin) as Record<string, unknown>
  const { mac, ...runtimeConfig } = (raw.runtimeConfig ?? {}) as Record<string, unknown>
  const keys = ['cniVersion', 'name', 'type', 'ipam', 'args', 'cni.dev/valid-attachments', 'cni.dev/attachments'].filter(key => key in raw)
  return JSON.stringify({ ...Object.fromEntries(keys.map(key => [key, raw[key]])), runtimeConfig })
}
