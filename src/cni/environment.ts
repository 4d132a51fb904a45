/**
 * CNI_* variables: see "Parameters" in the CNI specification. Checked in the order, and with the
 * words, of the reference library.
 */
import { CniError, CODE } from './error.ts'

export interface Environment {
  command: 'ADD' | 'DEL' | 'CHECK' | 'GC' | 'STATUS' | 'VERSION'
  containerID: string
  netns: string
  ifname: string
  /** CNI_ARGS as it came: see parseArgs(). */
  args: string
  /** Directories of CNI_PATH. */
  path: string[]
  /** True when CNI_NETNS may be the plugin's own namespace. */
  netnsOverride: boolean
}

const REQUIRED: Record<string, string[]> = {
  CNI_COMMAND: ['ADD', 'CHECK', 'DEL', 'GC', 'STATUS', 'VERSION'],
  CNI_CONTAINERID: ['ADD', 'CHECK', 'DEL'],
  CNI_NETNS: ['ADD', 'CHECK'],
  CNI_IFNAME: ['ADD', 'CHECK', 'DEL'],
  CNI_PATH: ['ADD', 'CHECK', 'DEL', 'GC'],
}
const COMMANDS = REQUIRED.CNI_COMMAND!

/** Throws CniError 4. */
export function parseEnvironment(env: Record<string, string | undefined>): Environment {
  const command = env.CNI_COMMAND ?? ''
  const missing: string[] = []
  for (const [name, verbs] of Object.entries(REQUIRED)) {
    if (!verbs.includes(command)) continue
    const value = env[name] ?? ''
    if (value === '') missing.push(name)
    else if (name === 'CNI_CONTAINERID') verifyContainerID(value)
    else if (name === 'CNI_IFNAME') verifyIfname(value, 'CNI_IFNAME')
  }
  if (missing.length > 0) throw new CniError(CODE.invalidEnvironment, `required env variables [${missing.join(',')}] missing`)
  if (!COMMANDS.includes(command)) throw new CniError(CODE.invalidEnvironment, `unknown CNI_COMMAND: ${command}`)
  return {
    command: command as Environment['command'],
    containerID: env.CNI_CONTAINERID ?? '',
    netns: absolute(env.CNI_NETNS ?? ''),
    ifname: env.CNI_IFNAME ?? '',
    args: env.CNI_ARGS ?? '',
    path: (env.CNI_PATH ?? '').split(':').filter(directory => directory !== ''),
    netnsOverride: /^(1|true)$/i.test(env.CNI_NETNS_OVERRIDE ?? ''),
  }
}

/** The agent, and later calls, have other working directories. */
const absolute = (path: string) => (path === '' || path.startsWith('/') ? path : `${process.cwd()}/${path}`)

/** Throws CniError 4. */
export function verifyContainerID(containerID: string): void {
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(containerID)) {
    throw new CniError(CODE.invalidEnvironment, 'invalid characters in containerID', containerID)
  }
}

/** <linux/if.h>: size of an interface's name, with the terminating zero. */
const IFNAMSIZ = 16

/** The kernel's dev_valid_name() takes this byte for a space, even inside a character of UTF-8. */
const NO_BREAK_SPACE = 0xa0

/**
 * Throws CniError 4 when `ifname`, given by `source`, cannot name an interface. The kernel looks at
 * bytes; the text is UTF-8.
 */
export function verifyIfname(ifname: string, source: string): void {
  const refuse = (message: string, details = `${source} is ${JSON.stringify(ifname)}`) =>
    new CniError(CODE.invalidEnvironment, message, details)
  const bytes = Buffer.from(ifname)
  if (bytes.length >= IFNAMSIZ)
    throw refuse(
      'interface name is too long',
      `interface name should be less than ${IFNAMSIZ} characters, but ${source} is ${JSON.stringify(ifname)}`,
    )
  if (ifname === '.' || ifname === '..') throw refuse('interface name is . or ..')
  if (/[/:\s\0]/u.test(ifname)) throw refuse('interface name contains / or : or whitespace characters')
  if (ifname.includes('%')) throw refuse('interface name contains %, which the kernel would expand')
  if (ifname.includes('\ufffd')) throw refuse('interface name is not UTF-8')
  if (bytes.includes(NO_BREAK_SPACE)) throw refuse('interface name contains the byte a0, which the kernel takes for a space')
}
