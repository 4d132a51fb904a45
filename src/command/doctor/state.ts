/** Checks of tunlink's own state: directory, records, links, leases, agent. */
import { existsSync } from 'node:fs'
import { ask, noAgent } from '../../agent/client.ts'
import { VERSION } from '../../agent/protocol.ts'
import { BUILT_IN_IPAM, type NetConf, parseNetConf } from '../../cni/netconf.ts'
import { capacity } from '../../ipam/candidates.ts'
import { type LeaseOnDisk, leaseList } from '../../ipam/lease.ts'
import { isIn, parseIpam } from '../../ipam/pool.ts'
import { QUESTIONS } from '../../verbs/status.ts'
import { isGone } from '../faults.ts'
import { podOf } from '../links.ts'
import { isForwarding, isSourceCheck } from './node.ts'
import { type Check, type Finding, fault, networksWithLeases, type World, warning } from './world.ts'

/** Checked only where the directory exists: doctor leaves nothing behind. */
const directory = ({ dataDirs }: World): Finding[] =>
  dataDirs
    .filter(dataDir => existsSync(dataDir))
    .flatMap(dataDir => {
      try {
        QUESTIONS.dataDir(dataDir)
        return []
      } catch (error) {
        return [fault((error as Error).message, `chown root ${dataDir}; chmod 700 ${dataDir}; and see that its disk has room`)]
      }
    })

const records = ({ broken }: World): Finding[] =>
  broken.map(({ file, reason }) => fault(`the record ${file} cannot be used: ${reason}`, 'end the pod: DEL and GC remove link and record'))

/** Faults that CHECK finds and no other check reports. */
function links(world: World): Finding[] {
  const gone = world.links.filter(({ plan }) => isGone(plan))
  const leftovers = gone.map(({ plan }) =>
    warning(
      `the namespace of ${podOf(plan)} ${plan.ifname} is gone (${plan.netns}), and its record is not`,
      'the runtime’s DEL or GC removes it; so does the next ADD of that pod',
    ),
  )
  const faults = [...world.linkFaults].filter(([text]) => !isForwarding(text) && !isSourceCheck(text))
  const present = faults
    .map(([text, plans]) => ({ text, plans: plans.filter(plan => !isGone(plan)) }))
    .filter(({ plans }) => plans.length > 0)
  return [...leftovers, ...present.map(({ text, plans }) => fault(`${plans.map(podOf).join(', ')}: ${text}`, mendOf(text)))]
}

const mendOf = (text: string) =>
  text.includes('agent')
    ? 'start one: "tunlink agent &", and the next ADD does; see agent.log beside its socket'
    : 'end the pod and start it again, which makes the link anew'

/**
 * An ADD takes an address before it writes the record: a lease younger than this is not stray yet.
 */
const STRAY_MS = 30_000

function leases({ dataDirs, links, networks }: World): Finding[] {
  const known = new Set(links.map(({ plan, dataDir }) => keyOf(dataDir, plan.network, plan)))
  const strays = dataDirs.flatMap(dataDir =>
    networksWithLeases(dataDir)
      .filter(network => isOurs(network, networks))
      .flatMap(network => leaseList(dataDir, network).flatMap(lease => strayFault(dataDir, network, lease, known))),
  )
  return [...strays, ...networks.flatMap(fullPools)]
}

const keyOf = (dataDir: string, network: string, { containerID, ifname }: { containerID: string; ifname: string }) =>
  `${dataDir} ${network} ${containerID} ${ifname}`

/** Leases of other plugins' networks have no record of ours. */
const isOurs = (network: string, networks: NetConf[]) => networks.some(({ name, ipam }) => name === network && ipam?.type === BUILT_IN_IPAM)

function strayFault(dataDir: string, network: string, { file, owner, addresses, writtenMs }: LeaseOnDisk, known: Set<string>): Finding[] {
  if (Date.now() - writtenMs < STRAY_MS) return []
  if (owner === undefined) return [warning(`the lease ${file} does not say whose it is`, 'the runtime’s GC removes it')]
  if (known.has(keyOf(dataDir, network, owner))) return []
  const text = `${addresses.join(', ') || 'nothing'} is leased to ${owner.containerID} ${owner.ifname} in "${network}", which has no link`
  return [warning(text, `the runtime’s GC gives it back; by hand: CNI DEL of that container`)]
}

/** Sets of the pool with no or few addresses left. */
function fullPools({ name, dataDir, ipam }: NetConf): Finding[] {
  if (ipam?.type !== BUILT_IN_IPAM) return []
  const pool = parseIpam(ipam)
  const taken = leaseList(dataDir, name).flatMap(({ addresses }) => addresses)
  return pool.sets.flatMap(set => {
    const [used, all] = [taken.filter(address => isIn(set, address)).length, capacity(pool, set)]
    const text = `${used} of ${all} leases of a range of "${name}" are taken`
    const mend = 'give "ipam" another range, or end pods'
    if (BigInt(used) >= all) return [fault(`${text}: the next pod gets no address`, mend)]
    return BigInt(used) * 10n >= all * 9n ? [warning(text, mend)] : []
  })
}

async function agent({ dataDirs, networks, links }: World): Promise<Finding[]> {
  const findings: Finding[] = []
  for (const dataDir of dataDirs) {
    const ours = networks.filter(conf => conf.dataDir === dataDir)
    const hasLinks = links.some(link => link.dataDir === dataDir && link.plan.host !== undefined)
    findings.push(...(await agentFaults(dataDir, ours.length > 0 ? ours : [anyNetwork(dataDir)], hasLinks)))
  }
  return findings
}

async function agentFaults(dataDir: string, networks: NetConf[], hasLinks: boolean): Promise<Finding[]> {
  const mend = `start one: "tunlink agent --data-dir ${dataDir} &", and the next ADD does; see ${dataDir}/agent.log`
  for (const conf of networks) {
    try {
      await QUESTIONS.agent(conf)
    } catch (error) {
      const { message, details } = error as Error & { details?: string }
      return [fault(details ?? message, mend)]
    }
  }
  try {
    const { version, outdated } = await ask(dataDir, { op: 'status' })
    if (version !== VERSION)
      return [warning(`the agent is of version ${version}, and this is ${VERSION}`, 'install one version; the next ADD replaces it')]
    return outdated ? [warning('the agent’s executable has been replaced', 'kill -HUP its process, whose ID "tunlink status" has')] : []
  } catch (error) {
    if (!noAgent(error)) return [warning((error as Error).message, 'the next ADD replaces it')]
    const lack = 'no agent answers: links carry packets, but pods show NO-CARRIER, and nobody restores the firewall'
    return hasLinks ? [warning(lack, mend)] : []
  }
}

const anyNetwork = (dataDir: string): NetConf =>
  parseNetConf(JSON.stringify({ cniVersion: '1.1.0', name: 'doctor', type: 'tunlink', dataDir }), {
    command: 'STATUS',
    containerID: '',
    netns: '',
    ifname: '',
    args: '',
    path: [],
    netnsOverride: false,
  })

export const STATE_CHECKS: Check[] = [
  { name: 'directory', run: directory },
  { name: 'records', run: records },
  { name: 'links', run: links },
  { name: 'leases', run: leases },
  { name: 'agent', run: agent },
]
