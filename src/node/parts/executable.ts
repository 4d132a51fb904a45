/** Keeps the plugin in the runtime's directory. */
import { join } from 'node:path'
import { installExecutable, signature } from '../install.ts'
import { log } from '../log.ts'
import type { State } from '../state.ts'
import type { Part } from './part.ts'

export function executablePart(state: State): Part {
  const path = join(state.options.cniBinDir, 'tunlink')
  let last: string | undefined
  return {
    name: 'executable',
    everyMs: 1_000,
    run() {
      if (last !== undefined && signature(path) === last) return
      if (installExecutable(state.options.executable, path)) log.info('executable installed', { path })
      last = signature(path)
      if (state.executable === undefined) state.wake('agent', 'conflist')
      state.executable = path
    },
  }
}
