/** Which versions of CNI another plugin speaks: see "VERSION" in the CNI specification. */
import { execFile } from 'node:child_process'

/** The version of the question itself, which every plugin understands. */
const ASKED = '1.0.0'
const ANSWER_MS = 5_000

/**
 * Equivalent to: CNI_COMMAND=VERSION PATH. Rejects with an Error whose message is the end of a
 * sentence that begins with the plugin's name.
 */
export function askVersion(path: string): Promise<string[]> {
  return new Promise((resolve, reject) => {
    const env = { PATH: process.env.PATH, CNI_COMMAND: 'VERSION' }
    const child = execFile(path, { env, timeout: ANSWER_MS, killSignal: 'SIGKILL' }, (error, stdout) => {
      const versions = parseVersions(stdout)
      if (versions !== undefined) resolve(versions)
      else
        reject(
          new Error(
            `does not tell its versions (${error?.message.split('\n')[0] ?? `it printed ${JSON.stringify(stdout.slice(0, 100))}`})`,
          ),
        )
    })
    child.stdin?.on('error', () => {}) // a plugin that does not read its input
    child.stdin?.end(JSON.stringify({ cniVersion: ASKED }))
  })
}

/** `supportedVersions` of an answer; undefined when it has none. */
function parseVersions(stdout: string): string[] | undefined {
  try {
    const { supportedVersions } = JSON.parse(stdout)
    return Array.isArray(supportedVersions) ? supportedVersions.filter(version => typeof version === 'string') : undefined
  } catch {
    return undefined
  }
}
