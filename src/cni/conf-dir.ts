/** The directory of network configurations that runtimes read, such as /etc/cni/net.d. */
import { existsSync, readdirSync } from 'node:fs'

/**
 * Names of the files that a runtime reads, in its order: the first is the node's network. An empty
 * list where the directory does not exist. Throws the error of readdir(3).
 */
export function configurationNames(directory: string): string[] {
  if (!existsSync(directory)) return []
  return readdirSync(directory)
    .filter(file => /\.(conf|conflist|json)$/.test(file))
    .sort()
}

/**
 * Network configurations in `directory` that a runtime would take before `name`: the first by name
 * wins.
 */
export const configurationsBefore = (directory: string, name: string): string[] => configurationNames(directory).filter(file => file < name)
