/** The types of a command and of its arguments. */
import { parseArgs } from 'node:util'

/** Exit statuses, the same for all commands. */
export const STATUS = {
  ok: 0,
  /** The command failed, or `doctor` or `show` has found a fault. */
  failed: 1,
  /** The command line is wrong. */
  usage: 2,
  /** No link has this name, or more than one has. */
  noLink: 3,
} as const

/** An error of one line: what went wrong, and how to mend it. */
export class CommandError extends Error {
  override name = 'CommandError'
  readonly hint: string | undefined
  readonly status: number
  constructor(message: string, hint?: string, status: number = STATUS.failed) {
    super(message)
    this.hint = hint
    this.status = status
  }
}

export const usageError = (message: string, hint?: string) => new CommandError(message, hint, STATUS.usage)

export interface Option {
  /** The value's name in the help, such as `FILE`; absent for a switch. */
  value?: string
  short?: string
  /** The option may be given several times. */
  multiple?: true
  default?: string
  help: string
}

export interface Command {
  /** The words after `tunlink`, such as `show LINK [OPTION...]`. */
  usage: string
  /** The help text: lines of at most 100 columns. */
  about: string
  options: Record<string, Option>
  /** The command takes words that are no options, such as LINK. */
  takesWords?: boolean
  /** Resolves with the exit status. Throws CommandError. */
  run(given: Given): number | Promise<number>
}

export const DATA_DIR: Option = { value: 'DIR', default: '/run/tunlink', help: 'where records, leases and the agent’s socket are' }

type Value = string | boolean | (string | boolean)[] | undefined

/** The words and options of one command line. */
export class Given {
  readonly words: string[]
  readonly #values: Record<string, Value>

  constructor(words: string[], values: Record<string, Value>) {
    this.words = words
    this.#values = values
  }

  flag(name: string): boolean {
    return this.#values[name] === true
  }

  text(name: string): string | undefined {
    const value = this.#values[name]
    return typeof value === 'string' ? value : undefined
  }

  texts(name: string): string[] {
    return (this.#values[name] ?? []) as string[]
  }

  get dataDir(): string {
    return this.text('data-dir')!
  }

  /** A whole number from `least` to `most`; undefined when the option was not given. */
  number(name: string, least = 0, most = Number.MAX_SAFE_INTEGER): number | undefined {
    const value = this.text(name)
    if (value === undefined) return undefined
    const number = Number(value)
    if (value !== '' && Number.isInteger(number) && number >= least && number <= most) return number
    const range =
      most === Number.MAX_SAFE_INTEGER ? `a whole number${least === 0 ? '' : `, at least ${least}`}` : `from ${least} to ${most}`
    throw usageError(`--${name} must be ${range}, not "${value}"`)
  }

  /** One of `choices`; undefined when the option was not given. */
  choice<T extends string>(name: string, choices: readonly T[]): T | undefined {
    const value = this.text(name)
    if (value === undefined || choices.includes(value as T)) return value as T | undefined
    throw usageError(`--${name} must be ${choices.join(' or ')}, not "${value}"`)
  }
}

/** Parses the command line of `command`: `argv` without its name. Throws CommandError 2. */
export function parse({ usage, options, takesWords = false }: Command, argv: string[]): Given {
  const config = Object.fromEntries(
    Object.entries(options).map(([name, { value, short, multiple, default: given }]) => [
      name,
      {
        type: value === undefined ? ('boolean' as const) : ('string' as const),
        ...(short === undefined ? {} : { short }),
        ...(multiple ? { multiple } : {}),
        ...(given === undefined ? {} : { default: given }),
      },
    ]),
  )
  try {
    const { values, positionals } = parseArgs({ args: argv, allowPositionals: takesWords, options: config })
    return new Given(positionals, values as Record<string, Value>)
  } catch (error) {
    throw usageError((error as Error).message.split('. ')[0]!, `"tunlink help ${usage.split(' ')[0]}" says what it takes`)
  }
}
