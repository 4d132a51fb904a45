/** `tunlink doctor`. */
import { type Command, DATA_DIR, type Given, STATUS } from './command.ts'
import { CONFIGURATION_CHECKS } from './doctor/configuration.ts'
import { NODE_CHECKS } from './doctor/node.ts'
import { STATE_CHECKS } from './doctor/state.ts'
import { type Check, type Finding, fault, readWorld, type World } from './doctor/world.ts'
import { print, printJson, progress, type Style, styled } from './output.ts'

const CHECKS: Check[] = [...NODE_CHECKS, ...CONFIGURATION_CHECKS, ...STATE_CHECKS]

export const command: Command = {
  usage: 'doctor [-o json] [OPTION...]',
  about: `Looks whether this node is able to give pods their links, and whether those that it has are well.
Each fault comes with its mend. Exit status 1 when there is one; warnings do not count.
It changes nothing. The checks:
  ${CHECKS.map(({ name }) => name)
    .join(', ')
    .replace(/(.{60,90},) /, '$1\n  ')}`,
  options: {
    output: { value: 'FORM', short: 'o', default: 'text', help: 'text or json' },
    'conf-dir': { value: 'DIR', default: '/etc/cni/net.d', help: 'where the runtime reads network configurations' },
    'bin-dir': { value: 'DIR', default: '/opt/cni/bin', help: 'where the runtime looks for plugins' },
    'data-dir': { value: DATA_DIR.value!, help: 'default: those that the configurations name, else /run/tunlink' },
  },
  run: doctor,
}

async function doctor(given: Given): Promise<number> {
  const form = given.choice('output', ['text', 'json'])!
  const world = await readWorld({ dataDir: given.text('data-dir'), confDir: given.text('conf-dir')!, binDir: given.text('bin-dir')! })
  const results: { check: string; findings: Finding[] }[] = []
  for (const check of CHECKS) {
    progress(`checking: ${check.name}`)
    results.push({ check: check.name, findings: await attempted(check, world) })
  }
  progress('')
  if (form === 'json') printJson(results)
  else for (const { check, findings } of results) print(describe(check, findings))
  return results.some(({ findings }) => findings.some(({ level }) => level === 'fault')) ? STATUS.failed : STATUS.ok
}

/** A check that fails to run does not hide the others. */
async function attempted(check: Check, world: World): Promise<Finding[]> {
  try {
    return await check.run(world)
  } catch (error) {
    return [fault(`this check failed: ${(error as Error).message}`, 'run as root')]
  }
}

const COLUMN = Math.max(...CHECKS.map(({ name }) => name.length))
const WORDS: Record<Finding['level'] | 'ok', [word: string, style: Style]> = {
  ok: ['ok', 'green'],
  warning: ['warning', 'yellow'],
  fault: ['FAULT', 'red'],
}

function describe(check: string, findings: Finding[]): string {
  const line = (level: keyof typeof WORDS, text: string) =>
    `${styled(WORDS[level][1], WORDS[level][0].padEnd(7))}  ${check.padEnd(COLUMN)}  ${text}`.trimEnd()
  if (findings.length === 0) return `${line('ok', '')}\n`
  return findings.map(({ level, text, mend }) => `${line(level, text)}\n${' '.repeat(COLUMN + 11)}mend: ${mend}\n`).join('')
}
