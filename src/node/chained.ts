/**
 * The versions of CNI that the plugins behind ours in the conflist speak. containerd 2 takes the
 * highest of `cniVersions` that it knows itself, and uses it for every plugin of the chain: a
 * plugin that does not know it fails each pod.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { askVersion } from '../cni/ask-version.ts'
import { compareVersions, SUPPORTED } from '../cni/version.ts'
import { signature } from './install.ts'

/** The oldest that is offered. */
const OLDEST = '0.3.1'
/** The version for runtimes that do not know `cniVersions`; containerd 1.6 knows none above. */
const PLAIN = '1.0.0'

/** Assumed when a plugin does not answer: every maintained one knows these. */
const ASSUMED = ['0.3.1', '0.4.0', '1.0.0']

export interface Spoken {
  /** For `cniVersions`, ascending. */
  versions: string[]
  /** A warning for each plugin that is missing or does not answer. */
  faults: string[]
}

/** One that did not answer is asked again: a node that has just started may have been too busy. */
const AGAIN_MS = 60_000

/** Asks executables for their versions, each only once while its file stays the same. */
export class ChainedPlugins {
  readonly #directory: string
  readonly #againMs: number
  readonly #answers = new Map<string, { file: string; answer: string[] | Error; atMs: number }>()

  /** `directory`: where the runtime looks for plugins. */
  constructor(directory: string, againMs = AGAIN_MS) {
    this.#directory = directory
    this.#againMs = againMs
  }

  /** The versions that ours and all of `types` speak. */
  async spoken(types: string[]): Promise<Spoken> {
    const faults: string[] = []
    let versions = SUPPORTED.filter(version => compareVersions(version, OLDEST) >= 0)
    for (const type of types) {
      const answer = await this.#ask(type)
      if (answer instanceof Error) faults.push(`the plugin "${type}" that is chained behind tunlink ${answer.message}`)
      const known = answer instanceof Error ? ASSUMED : answer
      versions = versions.filter(version => known.includes(version))
    }
    return { versions, faults }
  }

  async #ask(type: string): Promise<string[] | Error> {
    const path = join(this.#directory, type)
    const file = signature(path)
    if (file === undefined) return new Error(`is not in ${this.#directory}: no pod can start; install it there or take it out of "plugins"`)
    const known = this.#answers.get(type)
    const isDoubtful = known?.answer instanceof Error && performance.now() - known.atMs > this.#againMs
    if (known?.file === file && !isDoubtful) return known.answer
    const answer = await askVersion(path).catch(error => error as Error)
    this.#answers.set(type, { file, answer, atMs: performance.now() })
    return answer
  }
}

/**
 * `cniVersion` for these: 1.0.0, or the highest below that all know. Throws an Error when there is
 * none.
 */
export function plainVersion(versions: string[]): string {
  const found = versions.filter(version => compareVersions(version, PLAIN) <= 0).at(-1)
  if (found === undefined)
    throw new Error(`tunlink and the plugins chained behind it have no version of CNI up to ${PLAIN} in common: take other "plugins"`)
  return found
}

/** True when `portmap` exists. */
export const hasPortmap = (directory: string) => existsSync(join(directory, 'portmap'))
