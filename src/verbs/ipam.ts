/**
 * One interface for the three kinds of IPAM that a configuration may ask for: the built-in one,
 * another plugin, or none but the requested addresses.
 */
import { hostCidr } from '../address.ts'
import { delegate, parseLease } from '../cni/delegate.ts'
import { CniError, CODE } from '../cni/error.ts'
import { BUILT_IN_IPAM } from '../cni/netconf.ts'
import type { Result } from '../cni/result.ts'
import { acquire, collect, leaseOf, release } from '../ipam/lease.ts'
import { parseIpam } from '../ipam/pool.ts'
import type { Attachment, Leased } from '../link/plan.ts'
import { attachmentOf, type Context } from './context.ts'

export type Lease = Leased & { dns?: Result['dns'] }

export interface Ipam {
  /**
   * Another IPAM plugin needs this process's environment: so the plugin's process runs it, never
   * the agent.
   */
  isDelegated: boolean
  /** Throws CniError; then nothing is leased. */
  acquire(): Lease
  /** Releases the attachment's addresses. An attachment without addresses is not an error. */
  release(): void
  /** Throws CniError when one of the link's `addresses` is not leased to the attachment. */
  check(addresses: string[]): void
  /** Releases the leases of attachments that are not in `valid`. */
  collect(valid: { containerID: string; ifname: string }[]): void
  /** Throws CniError when an ADD would fail. */
  status(): void
}

/** The IPAM of `attachment`: of the call's own, unless GC asks about another. */
export function ipamOf(context: Context, attachment = attachmentOf(context)): Ipam {
  const { ipam } = context.conf
  if (ipam === undefined) return requestedAddresses(context, attachment)
  return ipam.type === BUILT_IN_IPAM ? builtIn(context, attachment, ipam) : delegated(context, ipam.type)
}

function builtIn(context: Context, owner: Attachment, ipam: Record<string, unknown>): Ipam {
  const { dataDir, name: network, requestedIPs } = context.conf
  return {
    isDelegated: false,
    acquire: () => {
      const pool = parseIpam(routesOf(context, ipam))
      try {
        return acquire(dataDir, network, owner, pool, requestedIPs)
      } catch (error) {
        throw asRequested(context, error)
      }
    },
    release: () => release(dataDir, network, owner),
    check: addresses => {
      const leased = leaseOf(dataDir, network, owner) ?? []
      const lost = addresses.filter(address => !leased.includes(address))
      if (lost.length > 0)
        throw new CniError(
          CODE.internal,
          `CHECK failed: ${lost.join(', ')} of CNI_CONTAINERID "${owner.containerID}" ${lost.length > 1 ? 'are' : 'is'} not leased any more`,
        )
    },
    collect: valid => collect(dataDir, network, valid),
    status: () => void parseIpam(ipam),
  }
}

/** What was refused with the name of what asked for it: whoever reads the error may not know. */
function asRequested({ conf }: Context, error: unknown): unknown {
  if (conf.requestedBy === undefined || !(error instanceof CniError)) return error
  if (error.code !== CODE.invalidConfig && error.code !== CODE.addressUnavailable) return error
  return new CniError(error.code, `${conf.requestedBy} asks for ${conf.requestedIPs.join(', ')}: ${error.message}`, error.details)
}

/**
 * Behind a plugin that has given the pod an address, "routes" has to ask for a default route: the
 * pod has one already, or is not to have one.
 */
const routesOf = ({ conf }: Context, ipam: Record<string, unknown>) =>
  (conf.prevResult?.ips.length ?? 0) > 0 ? { routes: [], ...ipam } : ipam

function delegated({ conf, stdin, environment }: Context, type: string): Ipam {
  const run = (command: string) => delegate(command, type, stdin, environment.path)
  return {
    isDelegated: true,
    acquire: () => {
      const stdout = run('ADD')
      try {
        const { ips, routes, dns } = parseLease(type, stdout, conf.cniVersion)
        return { ips, routes, dns }
      } catch (error) {
        run('DEL') // it has leased something, though its answer cannot be read
        throw error
      }
    },
    release: () => void run('DEL'),
    check: () => void run('CHECK'),
    collect: () => void run('GC'),
    status: () => void run('STATUS'),
  }
}

function requestedAddresses(context: Context, attachment: Attachment): Ipam {
  const { dataDir, name, requestedIPs } = context.conf
  const nothing = () => {}
  return {
    isDelegated: false,
    acquire: () => {
      if (requestedIPs.length === 0) {
        throw new CniError(
          CODE.invalidConfig,
          'no IP address: "ipam" is missing, and none was requested by runtimeConfig.ips, args.cni.ips or CNI_ARGS IP',
        )
      }
      return { ips: requestedIPs.map(ip => ({ address: ip.includes('/') ? ip : hostCidr(ip) })), routes: [] }
    },
    // an earlier configuration may have used the built-in one
    release: () => release(dataDir, name, attachment),
    check: nothing,
    collect: nothing,
    status: nothing,
  }
}
