/** LINK on the command line: any part of a link's names that no other link has. */
import type { LinkPlan } from '../link/plan.ts'
import { CommandError, STATUS, usageError } from './command.ts'
import { podOf } from './links.ts'

/** All names of a link. */
const namesOf = ({ network, containerID, podName, ifname, netns, pod, host }: LinkPlan): string[] => [
  network,
  containerID,
  ...(podName === undefined ? [] : [podName, podName.slice(podName.indexOf('/') + 1)]),
  ifname,
  ...(host === undefined ? [] : [host.ifname]),
  netns,
  netns.slice(netns.lastIndexOf('/') + 1),
  ...pod.addresses.map(({ local }) => local),
]

/**
 * The one link in whose names every one of `words` occurs. A name that equals the word goes before
 * names that contain it: 10.66.0.1 does not mean 10.66.0.10. Throws CommandError 2 without words,
 * and 3, with a list, when no link or several links match.
 */
export function findLink(plans: LinkPlan[], words: string[]): LinkPlan {
  if (words.length === 0) throw usageError('LINK is missing', 'see "tunlink ls"')
  // no name has a space: the names of a list may stand in quotes
  const found = words.flatMap(word => word.split(/\s+/).filter(part => part !== '')).reduce(narrowed, plans)
  if (found.length === 1) return found[0]!
  const what = words.map(word => JSON.stringify(word)).join(' ')
  if (found.length > 1)
    throw new CommandError(`${what} is ${found.length} links: ${describeSome(found)}`, 'say more, with another word', STATUS.noLink)
  const others = plans.length === 0 ? 'there is none on record' : `there are ${describeSome(plans)}`
  throw new CommandError(`no link is called ${what}`, others, STATUS.noLink)
}

function narrowed(plans: LinkPlan[], word: string): LinkPlan[] {
  const exact = plans.filter(plan => namesOf(plan).includes(word))
  return exact.length > 0 ? exact : plans.filter(plan => namesOf(plan).some(name => name.includes(word)))
}

const MOST_NAMED = 8

function describeSome(plans: LinkPlan[]): string {
  const named = plans.slice(0, MOST_NAMED).map(plan => `${podOf(plan)} ${plan.ifname} ${plan.pod.addresses[0]?.local ?? ''}`.trim())
  return [...named, ...(plans.length > MOST_NAMED ? [`and ${plans.length - MOST_NAMED} more`] : [])].join(', ')
}
