/** `tunlink show LINK`. */
import { ask } from '../agent/client.ts'
import type { AgentStatus } from '../agent/protocol.ts'
import type { LinkPlan } from '../link/plan.ts'
import { recordFile } from '../link/record.ts'
import type { Counters } from '../wire/wire.ts'
import { type Command, DATA_DIR, type Given, STATUS } from './command.ts'
import { type Device, deviceIn, printDevice } from './device.ts'
import { linkFaults } from './faults.ts'
import { findLink } from './find-link.ts'
import { type Listed, look, plansOf, podOf } from './links.ts'
import { print, printJson, styled } from './output.ts'

export const command: Command = {
  usage: 'show LINK [-o json] [OPTION...]',
  about: `Prints all about one link: its devices, addresses and routes on both sides as ip(8) prints them,
its packets, the agent, and what CHECK finds. Exit status 1 when that is a fault.
LINK may be several words, such as a pod and an interface.`,
  takesWords: true,
  options: { output: { value: 'FORM', short: 'o', default: 'text', help: 'text or json' }, 'data-dir': DATA_DIR },
  run: show,
}

async function show(given: Given): Promise<number> {
  const { dataDir, words } = given
  const form = given.choice('output', ['text', 'json'])!
  const plan = findLink(plansOf(dataDir), words)
  const [listed] = await look([plan], dataDir)
  const faults = await linkFaults(plan, dataDir)
  if (form === 'json') printJson({ plan, state: listed!.state, fromPod: listed!.fromPod, toPod: listed!.toPod, faults })
  else print([...heading(listed!, dataDir), ...(await devices(plan, dataDir)), ...verdict(faults)].map(line => `${line}\n`).join(''))
  return faults.length === 0 ? STATUS.ok : STATUS.failed
}

function heading({ plan, state, fromPod, toPod }: Listed, dataDir: string): string[] {
  const { network, containerID, ifname, farEnd, wire, mtu, netns, masquerade } = plan
  const far = farEnd === 'host' ? `host, wire ${wire}` : `attach, owner ${plan.owner ?? 'any'}, group ${plan.group ?? 'any'}`
  return [
    `${styled('bold', `${podOf(plan)} ${ifname}`)}: ${state}`,
    `  network ${network}, container ${containerID}`,
    `  netns ${netns}, far end ${far}, mtu ${mtu}`,
    `  record ${dataDir}/links/${network}/${recordFile(plan)}`,
    ...(masquerade.length === 0 ? [] : [`  masqueraded: ${masquerade.join(', ')}`]),
    `  from the pod: ${describe(fromPod)}`,
    `  to the pod: ${describe(toPod)}`,
  ]
}

const describe = (counters: Counters | undefined) =>
  counters === undefined ? 'not counted' : `${counters.packets} packets, ${counters.bytes} bytes, ${counters.drops} dropped`

async function devices(plan: LinkPlan, dataDir: string): Promise<string[]> {
  const pod = [plan.ifname, ...(plan.wire === 'kernel' ? [plan.host!.ifname] : [])].map(name => deviceIn(name, plan))
  const lines = ['In the pod:', ...pod.flatMap(found)]
  if (plan.host === undefined) return lines
  return [...lines, 'On the node:', ...found(deviceIn(plan.host.ifname)), `The agent: ${await agentWords(plan, dataDir)}`]
}

const found = (device: Device | string): string[] =>
  typeof device === 'string' ? [`  ${device}`] : printDevice(device).map(line => `  ${line}`)

async function agentWords(plan: LinkPlan, dataDir: string): Promise<string> {
  try {
    const { pid, version }: AgentStatus = await ask(dataDir, { op: 'status' })
    const { links } = await ask(dataDir, { op: 'list' })
    const isOpen = links.find(({ link }) => link === plan.host?.ifname)?.isOpen === true
    return `${version}, process ${pid}, ${isOpen ? 'has' : 'does not have'} this link`
  } catch (error) {
    return `none answers (${(error as Error).message})`
  }
}

const verdict = (faults: string[]): string[] =>
  faults.length === 0 ? [`CHECK: ${styled('green', 'no fault')}`] : ['CHECK:', ...faults.map(fault => `  ${styled('red', fault)}`)]
