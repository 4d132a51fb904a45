/** The state that the checks of `tunlink doctor` look at, read once. */
import { existsSync, readdirSync } from 'node:fs'
import { DEFAULT_DATA_DIR } from '../../cni/data-dir.ts'
import type { NetConf } from '../../cni/netconf.ts'
import type { LinkPlan } from '../../link/plan.ts'
import { type BrokenRecord, recordList } from '../../link/record.ts'
import { linkFaults } from '../faults.ts'
import { progress } from '../output.ts'
import { type ConfigurationFile, readConfigurations } from './configurations.ts'

/** `fault`: pods have no network, or will have none; `warning`: it works, but could be better. */
export interface Finding {
  level: 'fault' | 'warning'
  text: string
  /** How to mend it. */
  mend: string
}

export const fault = (text: string, mend: string): Finding => ({ level: 'fault', text, mend })
export const warning = (text: string, mend: string): Finding => ({ level: 'warning', text, mend })

/** The check of one subject; an empty list means that all is well. */
export interface Check {
  name: string
  run(world: World): Finding[] | Promise<Finding[]>
}

export interface Places {
  /** Default: the directories that the configurations name. */
  dataDir: string | undefined
  confDir: string
  binDir: string
}

export interface World extends Places {
  files: ConfigurationFile[]
  /** Configurations of tunlink that are valid. */
  networks: NetConf[]
  dataDirs: string[]
  links: { plan: LinkPlan; dataDir: string }[]
  broken: BrokenRecord[]
  /** The faults that CHECK finds, each with its links. */
  linkFaults: Map<string, LinkPlan[]>
}

export async function readWorld(places: Places): Promise<World> {
  const files = readConfigurations(places.confDir)
  const networks = files.flatMap(({ networks }) => networks)
  const dataDirs = places.dataDir !== undefined ? [places.dataDir] : [...new Set(networks.map(({ dataDir }) => dataDir))]
  if (dataDirs.length === 0) dataDirs.push(DEFAULT_DATA_DIR)
  const records = dataDirs.map(dataDir => ({ dataDir, ...recordList(dataDir) }))
  const links = records.flatMap(({ dataDir, plans }) => plans.map(plan => ({ plan, dataDir })))
  const broken = records.flatMap(({ broken }) => broken)
  return { ...places, files, networks, dataDirs, links, broken, linkFaults: await faultsOf(links) }
}

async function faultsOf(links: World['links']): Promise<Map<string, LinkPlan[]>> {
  const found = new Map<string, LinkPlan[]>()
  for (const [at, { plan, dataDir }] of links.entries()) {
    progress(`checking link ${at + 1} of ${links.length}`)
    for (const text of await linkFaults(plan, dataDir)) found.set(text, [...(found.get(text) ?? []), plan])
  }
  return found
}

/** Networks that have leases in `dataDir`. */
export function networksWithLeases(dataDir: string): string[] {
  const directory = `${dataDir}/ipam`
  return existsSync(directory) ? readdirSync(directory) : []
}
