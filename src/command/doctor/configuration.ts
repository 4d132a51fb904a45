/** Checks of the files that a runtime reads and runs: configurations, their order, executables. */
import { execFileSync } from 'node:child_process'
import { accessSync, constants, statSync } from 'node:fs'
import { join } from 'node:path'
import { VERSION } from '../../agent/protocol.ts'
import { askVersion } from '../../cni/ask-version.ts'
import { type ConfigurationFile, hasTunlink } from './configurations.ts'
import { type Check, type Finding, fault, type World, warning } from './world.ts'

function conflist({ files, confDir }: World): Finding[] {
  const errors = files.flatMap(file => file.errors.map(error => aboutFile(file, `${confDir}/${file.name}: ${error}`)))
  const keys = files.flatMap(({ name, networks }) =>
    networks.flatMap(({ warnings }) => warnings.map(text => warning(`${confDir}/${name}: ${text}`, 'correct the key'))),
  )
  if (files.some(hasTunlink) || errors.length > 0) return [...errors, ...keys]
  const others = files.map(({ name, types }) => `${name} has ${types.join(', ') || 'none'}`).join('; ')
  const found = files.length === 0 ? 'is empty or missing' : `has no plugin of the type "tunlink": ${others}`
  return [
    fault(`${confDir} ${found}`, 'write 10-tunlink.conflist there, see "Install" in the README; or name another directory with --conf-dir'),
  ]
}

/** A file that cannot be read may still be the one that the runtime takes. */
const aboutFile = (file: ConfigurationFile, text: string): Finding =>
  hasTunlink(file) || file.types.length === 0 ? fault(text, 'correct the file') : warning(text, 'correct the file')

/** The first file is the node's network. Multus runs the others by itself. */
function order({ files, confDir }: World): Finding[] {
  const at = files.findIndex(hasTunlink)
  const before = files.slice(0, Math.max(at, 0)).filter(({ types }) => types.length > 0)
  if (before.length === 0) return []
  const names = before.map(({ name }) => name).join(', ')
  const text = `${names} in ${confDir} sorts before ${files[at]!.name}: the runtime takes the first`
  if (before.some(({ types }) => types.includes('multus')))
    return [warning(`${text}, which is Multus`, 'see that Multus delegates to tunlink')]
  return [fault(`${text}, not tunlink`, `remove it, or rename ${files[at]!.name} so that it sorts before`)]
}

const installHint = ({ binDir }: World) => `install it in ${binDir}, or name another directory with --bin-dir`

function executable(world: World): Finding[] {
  const path = join(world.binDir, 'tunlink')
  const refusal = runRefusal(path)
  if (refusal !== undefined) return [fault(`${path} ${refusal}`, installHint(world))]
  const version = versionOf(path)
  if (version === VERSION) return []
  return [warning(`${path} is of version ${version ?? 'unknown'}, and this is ${VERSION}`, 'install the same version in both places')]
}

/** Why a runtime cannot run the file; undefined when it can. */
function runRefusal(path: string): string | undefined {
  if (statSync(path, { throwIfNoEntry: false }) === undefined) return 'is missing'
  try {
    accessSync(path, constants.X_OK)
    return undefined
  } catch {
    return 'cannot be executed'
  }
}

function versionOf(path: string): string | undefined {
  const { CNI_COMMAND, BUN_BE_BUN, ...env } = process.env
  try {
    return execFileSync(path, ['--version'], { encoding: 'utf8', env, timeout: 5_000, stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  } catch {
    return undefined
  }
}

/** The other plugins of chains that tunlink is in. */
async function chained(world: World): Promise<Finding[]> {
  const findings: Finding[] = []
  for (const file of world.files.filter(hasTunlink)) {
    const others = [...new Set([...file.types, ...file.ipamTypes])].filter(type => type !== 'tunlink')
    for (const type of others) findings.push(...(await pluginFaults(world, file, type)))
  }
  return findings
}

const DEBIANS = 'Debian’s package containernetworking-plugins has them in /usr/lib/cni'

async function pluginFaults(world: World, { name, versions }: ConfigurationFile, type: string): Promise<Finding[]> {
  const path = join(world.binDir, type)
  const refusal = runRefusal(path)
  if (refusal !== undefined) return [fault(`the plugin "${type}" of ${name} ${refusal} (${path})`, `${installHint(world)}; ${DEBIANS}`)]
  try {
    const spoken = await askVersion(path)
    const foreign = versions.filter(version => !spoken.includes(version))
    if (foreign.length === 0) return []
    const text = `the plugin "${type}" of ${name} does not speak CNI ${foreign.join(', ')}, only ${spoken.join(', ')}`
    return [fault(text, `take one of those for "cniVersion" in ${name}, or install a newer "${type}"`)]
  } catch (error) {
    return [warning(`the plugin "${type}" of ${name} ${(error as Error).message}`, `see that ${path} is a CNI plugin`)]
  }
}

export const CONFIGURATION_CHECKS: Check[] = [
  { name: 'conflist', run: conflist },
  { name: 'order', run: order },
  { name: 'executable', run: executable },
  { name: 'chained plugins', run: chained },
]
