/** Checks of the machine: its TUN device, kernel, wires, nf_tables, firewall. */
import { release } from 'node:os'
import { BUILT_IN_IPAM } from '../../cni/netconf.ts'
import { parseIpam } from '../../ipam/pool.ts'
import { firewallRefusal } from '../../link/firewall.ts'
import { chainName, droppingChains, isOpen } from '../../link/forward-policy.ts'
import { NetlinkSocket } from '../../linux/netlink.ts'
import { sysctlGet, sysctlIsWritable } from '../../linux/sysctl.ts'
import { NETLINK_NETFILTER } from '../../linux/uapi.ts'
import { QUESTIONS } from '../../verbs/status.ts'
import { kernelRefusal, tunRefusal } from '../../wire/choose.ts'
import { type Check, type Finding, fault, type World, warning } from './world.ts'

/** The oldest kernel under which the tests run. */
const OLDEST_KERNEL = [5, 10]

const FORWARDING: [family: 4 | 6, ...key: string[]][] = [
  [4, 'net', 'ipv4', 'ip_forward'],
  [6, 'net', 'ipv6', 'conf', 'all', 'forwarding'],
]

const device = (): Finding[] => {
  try {
    QUESTIONS.tun()
    return []
  } catch (error) {
    return [fault(`/dev/net/tun: ${(error as Error).message}`, 'modprobe tun; in a container, give it the device (character 10:200)')]
  }
}

function kernel(): Finding[] {
  const [major = 0, minor = 0] = release().split('.').map(Number)
  const isOld = major < OLDEST_KERNEL[0]! || (major === OLDEST_KERNEL[0] && minor < OLDEST_KERNEL[1]!)
  return isOld
    ? [warning(`Linux ${release()} is older than any that tunlink is tested under`, `run Linux ${OLDEST_KERNEL.join('.')} or later`)]
    : []
}

const mendOf = (tunRefusal: string) =>
  tunRefusal.includes('/dev/net/tun') ? 'see the check "device"' : 'run as root, with CAP_NET_ADMIN and CAP_SYS_ADMIN'

/** A link needs one of the two wires; only with "wire": "kernel" must it be the kernel wire. */
function wires({ networks }: World): Finding[] {
  const tun = tunRefusal()
  if (tun !== undefined) return [fault(`no TUN device can be made: ${tun}`, mendOf(tun))]
  const refusal = kernelRefusal()
  if (refusal === undefined) return []
  const mend = 'allow bpf(2), and load the modules veth, sch_ingress and cls_bpf'
  const insists = networks.find(({ farEnd, wire }) => farEnd === 'host' && wire === 'kernel')
  if (insists !== undefined) return [fault(`the network "${insists.name}" has "wire": "kernel", which cannot be had: ${refusal}`, mend)]
  return [warning(`links get thread wires, which cost more CPU, because the kernel wire cannot be had: ${refusal}`, mend)]
}

function nft({ networks }: World): Finding[] {
  const refusal = firewallRefusal(networks.some(({ ipMasq }) => ipMasq))
  return refusal === undefined ? [] : [fault(refusal, 'modprobe nf_tables nft_fib_inet nft_masq; or build the kernel with them')]
}

/**
 * When links exist, forwarding must be on; before the first link, ADD must be able to turn it on.
 */
function forwarding({ linkFaults, networks }: World): Finding[] {
  const found = [...linkFaults].filter(([text]) => isForwarding(text))
  const off = found.map(([text]) =>
    fault(text.replace(' for this link', ''), `sysctl -w ${/^sysctl (\S+)/.exec(text)![1]}=1, in /etc/sysctl.d too`),
  )
  const stuck = FORWARDING.filter(([family, ...key]) => usesFamily(networks, family) && sysctlGet(key) !== '1' && !sysctlIsWritable(key))
  return [
    ...off,
    ...stuck.map(([, ...key]) =>
      fault(`sysctl ${key.join('.')} is not 1, and cannot be written`, `sysctl -w ${key.join('.')}=1 outside of this container`),
    ),
  ]
}

function usesFamily(networks: World['networks'], family: 4 | 6): boolean {
  return networks.some(({ farEnd, ipam }) => {
    if (farEnd !== 'host') return false
    return ipam?.type === BUILT_IN_IPAM ? parseIpam(ipam).sets.some(set => set[0]!.family === family) : family === 4
  })
}

export const isForwarding = (text: string): boolean => text.startsWith('sysctl ') && !isSourceCheck(text)

export const isSourceCheck = (text: string): boolean => /rp_filter|nftables table|source addresses/.test(text)

function sourceChecks({ linkFaults }: World): Finding[] {
  return [...linkFaults]
    .filter(([text]) => isSourceCheck(text))
    .map(([text, plans]) => {
      const key = /^sysctl (\S+) is 0/.exec(text)?.[1]
      const mend = key === undefined ? 'an agent restores it: "tunlink agent &", or the next ADD, starts one' : `sysctl -w ${key}=1`
      return fault(plans.length === 1 ? text : `${text} (${plans.length} links)`, mend)
    })
}

/**
 * Chains of other software that drop forwarded packets. Rules of iptables-legacy cannot be seen.
 */
function firewall(): Finding[] {
  try {
    using netfilter = new NetlinkSocket(NETLINK_NETFILTER)
    return droppingChains(netfilter)
      .filter(chain => !isOpen(netfilter, chain))
      .map(chain =>
        fault(
          `the policy of the chain ${chainName(chain)} is drop, and no rule there names tl*: what pods send over this node is dropped`,
          'iptables -I FORWARD -i tl+ -j ACCEPT; iptables -I FORWARD -o tl+ -j ACCEPT; or tunlinkd --open-forward true',
        ),
      )
  } catch (error) {
    return [warning(`chains that drop cannot be looked for: ${(error as Error).message}`, 'see the check "nft"')]
  }
}

export const NODE_CHECKS: Check[] = [
  { name: 'device', run: device },
  { name: 'kernel', run: kernel },
  { name: 'wires', run: wires },
  { name: 'nft', run: nft },
  { name: 'forwarding', run: forwarding },
  { name: 'source checks', run: sourceChecks },
  { name: 'firewall', run: firewall },
]
