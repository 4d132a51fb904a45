/** The IPAM plugin: what a configuration of another plugin gets that names this one under `ipam.type`. */
import type { Environment } from '../cni/environment.ts'
import { CniError, CODE } from '../cni/error.ts'
import { printResult } from '../cni/result.ts'
import { SUPPORTED } from '../cni/version.ts'
import { ipamAdd, ipamCheck, ipamDel, ipamGc, ipamStatus } from '../ipam/plugin.ts'

/** What to print, undefined for nothing. */
export function runIpam(environment: Environment, stdin: string): string | undefined {
  const conf = JSON.parse(stdin) as { cniVersion?: string; name?: string } & Record<string, unknown>
  const cniVersion = conf.cniVersion || '0.1.0'
  if (!SUPPORTED.includes(cniVersion)) throw new CniError(CODE.incompatibleVersion, 'incompatible CNI versions', `config is "${cniVersion}", plugin supports ${JSON.stringify(SUPPORTED)}`)
  const input = { conf, containerID: environment.containerID, ifname: environment.ifname }
  switch (environment.command) {
    case 'ADD':
      return printResult({ cniVersion, interfaces: [], ...ipamAdd(input) }, cniVersion)
    case 'DEL':
      return void ipamDel(input)
    case 'CHECK':
      return void ipamCheck(input)
    case 'GC':
      return void ipamGc(input)
    case 'STATUS':
      return void ipamStatus(input)
  }
}
