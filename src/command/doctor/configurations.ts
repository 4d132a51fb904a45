/** The files of a runtime's configuration directory, and the configurations of tunlink in them. */
import { join } from 'node:path'
import { configurationNames } from '../../cni/conf-dir.ts'
import type { Environment } from '../../cni/environment.ts'
import { BUILT_IN_IPAM, type NetConf, parseNetConf } from '../../cni/netconf.ts'
import { parseIpam } from '../../ipam/pool.ts'
import { readSmallFile } from '../../read-file.ts'

export interface ConfigurationFile {
  name: string
  /** Types of the plugins, in the order of the chain; empty where the file cannot be read. */
  types: string[]
  /** Types of the IPAM plugins that the chain names. */
  ipamTypes: string[]
  /** Versions of CNI that the chain may be called with. */
  versions: string[]
  /** Configurations of tunlink in the file, and what is wrong with others. */
  networks: NetConf[]
  errors: string[]
}

export const hasTunlink = ({ types }: ConfigurationFile): boolean => types.includes(TUNLINK)

const TUNLINK = 'tunlink'

/** In the order in which a runtime reads them. Throws the error of readdir(3). */
export const readConfigurations = (directory: string): ConfigurationFile[] =>
  configurationNames(directory).map(name => {
    const nothing = { name, types: [], ipamTypes: [], versions: [], networks: [] }
    try {
      return { ...nothing, ...parse(JSON.parse(readSmallFile(join(directory, name), 'follow')), name.endsWith('.conflist')) }
    } catch (error) {
      return { ...nothing, errors: [(error as Error).message] }
    }
  })

interface RawPlugin {
  type?: unknown
  ipam?: { type?: unknown } | null
  capabilities?: Record<string, unknown> | null
}

interface RawList extends RawPlugin {
  cniVersion?: string
  cniVersions?: string[]
  name?: string
  plugins?: RawPlugin[]
}

/**
 * A conflist, or the older form with one plugin alone: a runtime goes by the file's name, and
 * refuses a file that has the other form.
 */
function parse(list: RawList, isConflist: boolean): Omit<ConfigurationFile, 'name'> {
  if (typeof list !== 'object' || list === null || Array.isArray(list)) throw new SyntaxError('it is no JSON object')
  const isList = Array.isArray(list.plugins)
  const plugins = isList ? list.plugins! : [list]
  const other = plugins.findIndex(plugin => typeof plugin !== 'object' || plugin === null)
  if (other >= 0) throw new SyntaxError(`plugins[${other}] is no JSON object`)
  const found: Omit<ConfigurationFile, 'name'> = {
    types: texts(plugins.map(({ type }) => type)),
    ipamTypes: texts(plugins.map(({ ipam }) => ipam?.type)),
    versions: [...new Set([list.cniVersion ?? '0.1.0', ...(list.cniVersions ?? [])])],
    networks: [],
    errors: [],
  }
  if (isConflist && !isList) found.errors.push('it has no list "plugins", which a conflist must have')
  if (!isConflist && isList) found.errors.push('a file with "plugins" must be called *.conflist, or the runtime refuses it')
  for (const plugin of plugins.filter(({ type }) => type === TUNLINK)) {
    for (const cniVersion of found.versions) {
      try {
        const conf = asIfAdded(Object.assign({}, plugin, { cniVersion, name: list.name }))
        if (cniVersion === found.versions[0]) found.networks.push(conf)
      } catch (error) {
        const { message, details } = error as Error & { details?: string }
        found.errors.push(details === undefined ? message : `${message}: ${details}`)
      }
    }
  }
  return { ...found, errors: [...new Set(found.errors)] }
}

const texts = (values: unknown[]): string[] => values.filter(value => typeof value === 'string' && value !== '') as string[]

const ENVIRONMENT: Environment = {
  command: 'ADD',
  containerID: 'doctor',
  netns: '',
  ifname: 'eth0',
  args: '',
  path: [],
  netnsOverride: false,
}

/** What the plugin itself says of a configuration. Throws CniError. */
function asIfAdded(plugin: RawPlugin): NetConf {
  const conf = parseNetConf(JSON.stringify(plugin), ENVIRONMENT)
  if (conf.ipam?.type === BUILT_IN_IPAM) parseIpam(conf.ipam)
  if (conf.ipam === undefined && conf.requestedIPs.length === 0 && plugin.capabilities?.ips !== true)
    conf.warnings.push('"ipam" is missing: an ADD fails, unless CNI_ARGS asks for an address')
  return conf
}
