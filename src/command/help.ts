/** `tunlink help`. */
import { VERSION } from '../agent/protocol.ts'
import { type Command, usageError } from './command.ts'
import { COMMANDS } from './main.ts'
import { print, styled } from './output.ts'

export const command: Command = {
  usage: 'help [COMMAND]',
  about: 'Prints what tunlink can do, or all about one command.',
  takesWords: true,
  options: {},
  async run({ words: [name] }) {
    if (name === undefined) return print(overview())
    if (!Object.hasOwn(COMMANDS, name)) throw usageError(`there is no command "${name}"`, 'see "tunlink help"')
    return print(describe((await COMMANDS[name]!.load()).command))
  },
}

const overview = () => `tunlink ${VERSION}: a CNI plugin that gives a pod a true point-to-point link (a TUN device)

Run by a container runtime with CNI_COMMAND set, it is the plugin. Otherwise:
${Object.entries(COMMANDS)
  .map(([name, { summary }]) => `  tunlink ${styled('bold', name.padEnd(12))}${summary}\n`)
  .join('')}
"tunlink help COMMAND" says all about one of them, "tunlink --version" the version.
LINK is any part of a link's container ID, pod, own addresses, network, namespace or device names
that no other link has.

Exit status: 0 done, all is well; 1 it failed, or a fault was found; 2 the command line is wrong;
3 no link, or more than one, is called so.
`

/** The help of one command, without an empty line at the end. */
export function describe({ usage, about, options }: Command): string {
  const lines = Object.entries(options).map(([name, { value, short, help, default: given }]) => [
    `  ${short === undefined ? '' : `-${short}, `}--${name}${value === undefined ? '' : ` ${value}`}`,
    given === undefined ? help : `${help}; default: ${given}`,
  ])
  const width = Math.max(0, ...lines.map(([option]) => option!.length))
  const list = lines.map(([option, help]) => `${option!.padEnd(width)}  ${help}\n`).join('')
  return `${styled('bold', `tunlink ${usage}`)}\n\n${about}\n${list === '' ? '' : `\nOptions:\n${list}`}`
}
