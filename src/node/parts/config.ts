/**
 * Reads the ConfigMap's file when its text changes. A bad one is reported, and the last good one
 * stays.
 */
import { type NodeConfig, parseConfig } from '../config.ts'
import { readText } from '../install.ts'
import { describe } from '../log.ts'
import type { State } from '../state.ts'
import type { Part } from './part.ts'

export function configPart(state: State): Part {
  const { options, notifier } = state
  let lastText: string | undefined
  return {
    name: 'config',
    everyMs: 1_000,
    run() {
      const text = readText(options.config) ?? ''
      if (text === lastText) return
      lastText = text
      let config: NodeConfig
      try {
        config = parseConfig(text)
      } catch (error) {
        const kept = state.config === undefined ? 'nothing is installed until it is right' : 'the last good one stays in force'
        notifier.tell('Warning', 'InvalidConfig', `${options.config}: ${describe(error)}; ${kept}`)
        return
      }
      notifier.forget('InvalidConfig')
      const stays = `"dataDir" stays ${state.dataDir} until tunlinkd is restarted on a drained node`
      notifier.warnWhile('DataDirChanged', options.dataDir === undefined && config.dataDir !== state.dataDir ? stays : undefined)
      state.config = config
      state.wake('conflist', 'masquerade')
    },
  }
}
