/** `tunlink status`. */
import { ask, noAgent } from '../agent/client.ts'
import { type Command, CommandError, DATA_DIR } from './command.ts'
import { print } from './output.ts'

export const command: Command = {
  usage: 'status [OPTION...]',
  about: `Asks the agent for its state, and prints it as one line of JSON: its version, what carries a
new link's packets ("wire") and why nothing better does ("refusals"), how many links there are.`,
  options: { 'data-dir': DATA_DIR },
  async run({ dataDir }) {
    try {
      return print(`${JSON.stringify(await ask(dataDir, { op: 'status' }))}\n`)
    } catch (error) {
      if (!noAgent(error)) throw error
      throw new CommandError(`no agent answers at ${dataDir}/agent.sock`, 'the next ADD starts one, and so does "tunlink agent &"')
    }
  },
}
