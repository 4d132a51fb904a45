/** The command line: finds the command, runs it, prints its error. Each command loads itself. */
import { VERSION } from '../agent/protocol.ts'
import { SUPPORTED } from '../cni/version.ts'
import { nearest } from '../nearest.ts'
import { type Command, CommandError, parse, STATUS, usageError } from './command.ts'
import { print, printError } from './output.ts'

/** The commands in the order of the help: what each does, and how to load it. */
export const COMMANDS: Record<string, { summary: string; load(): Promise<{ command: Command }> }> = {
  ls: { summary: 'the links on record, a line each', load: () => import('./ls.ts') },
  show: { summary: 'all about one link, and its faults', load: () => import('./show.ts') },
  doctor: { summary: 'is this node able: each fault with its mend', load: () => import('./doctor.ts') },
  capture: { summary: 'the packets of a link, for tcpdump and Wireshark', load: () => import('./capture.ts') },
  up: { summary: 'make a link by hand', load: () => import('./up.ts') },
  down: { summary: 'remove a link that was made by hand', load: () => import('./down.ts') },
  status: { summary: 'the agent’s state, as JSON', load: () => import('./status.ts') },
  agent: { summary: 'run the agent, which keeps links', load: () => import('./agent.ts') },
  completion: { summary: 'completion for bash and zsh', load: () => import('./completion.ts') },
  help: { summary: 'this text, or all about one command', load: () => import('./help.ts') },
}

/** Resolves with the exit status. */
export async function runCommand(argv: string[]): Promise<number> {
  const [name, ...rest] = argv
  if (name === undefined) {
    process.stderr.write(
      `CNI tunlink plugin ${VERSION}\nCNI protocol versions supported: ${SUPPORTED.join(', ')}\n"tunlink help" lists the commands\n`,
    )
    return STATUS.ok
  }
  // a reader that stops early, such as head(1), is not an error
  process.stdout.on('error', ({ code, message }: NodeJS.ErrnoException) => {
    if (code === 'EPIPE') process.exit(STATUS.ok)
    printError(name, { message })
    process.exit(STATUS.failed)
  })
  if (['--version', '-v'].includes(name)) return print(`${VERSION}\n`)
  try {
    if (['--help', '-h'].includes(name)) return await run('help', [])
    if (rest.some(word => word === '--help' || word === '-h')) return await run('help', [name])
    return await run(name, rest)
  } catch (error) {
    const { message, hint, details, code } = error as { message: string; hint?: string; details?: string; code?: unknown }
    const isForRoot = process.geteuid!() !== 0 && ['EACCES', 'EPERM'].includes(String(code))
    const isOfNode = name === 'up' && !(error instanceof CommandError)
    const general = isForRoot ? 'run it as root' : isOfNode ? '"tunlink doctor" looks for the reason' : undefined
    printError(name, { message, hint: hint ?? details ?? general })
    return error instanceof CommandError ? error.status : STATUS.failed
  }
}

async function run(name: string, argv: string[]): Promise<number> {
  const found = Object.hasOwn(COMMANDS, name) ? COMMANDS[name]! : undefined
  if (found === undefined) throw usageError(`there is no command "${name}"`, hintFor(name))
  const { command } = await found.load()
  return command.run(parse(command, argv))
}

function hintFor(name: string): string {
  if (name.startsWith('-')) return 'options stand behind the command, as in "tunlink ls -o json"'
  const names = Object.keys(COMMANDS)
  const meant = nearest(name, names)
  return meant === undefined ? `"tunlink help" lists them: ${names.join(', ')}` : `did you mean "${meant}"?`
}
