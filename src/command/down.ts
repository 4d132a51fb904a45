/** `tunlink down LINK`. */
import { delAttachment } from '../plugin/del.ts'
import { alone, BY_HAND, contextOf } from './by-hand.ts'
import { type Command, CommandError, DATA_DIR, type Given } from './command.ts'
import { findLink } from './find-link.ts'
import { plansOf } from './links.ts'
import { print } from './output.ts'

export const command: Command = {
  usage: 'down LINK [OPTION...]',
  about: `Removes a link that "tunlink up" has made. A link of a container is for its runtime to remove.`,
  takesWords: true,
  options: { 'data-dir': DATA_DIR },
  run: down,
}

async function down(given: Given): Promise<number> {
  findLink(plansOf(given.dataDir), given.words) // without a lock, which needs the directory
  return alone(given.dataDir, () => remove(given))
}

async function remove({ dataDir, words }: Given): Promise<number> {
  const plan = findLink(plansOf(dataDir), words)
  if (plan.network !== BY_HAND)
    throw new CommandError(`${plan.containerID} ${plan.ifname} is of the network "${plan.network}", whose runtime made it`, 'end the pod')
  await delAttachment(contextOf('DEL', plan, plan.netns, { dataDir }), plan)
  return print(`${plan.ifname} in ${plan.netns} is gone\n`)
}
